//! Reads a Bicep file into its declarations. No compiler of it runs without the network, so names are resolved here too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tree_sitter::{Node, Parser};

/// A file, with what it declares in the order of declaration.
pub struct Bicep {
    pub path: PathBuf,
    pub text: String,
    pub declarations: Vec<Declaration>,
    /// Every name that some expression uses, functions apart.
    pub used: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Parameter,
    Variable,
    Resource,
    Module,
    Output,
}

/// `param name type = value`, `resource name 'type@version' = value`, and so on.
pub struct Declaration {
    pub kind: Kind,
    pub name: String,
    /// Of a resource its type and version, of a module its file.
    pub of: String,
    /// The resource is only looked up.
    pub is_existing: bool,
    /// The names of its decorators.
    pub decorators: Vec<String>,
    /// Of a parameter its default.
    pub value: Option<Value>,
}

/// An expression as it is written, and its members if it is an object.
pub struct Value {
    pub text: String,
    pub members: Vec<(String, Value)>,
}

impl Value {
    /// The member at a path such as `properties.sku.name`.
    pub fn at(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(self, |value, name| {
            value.members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
        })
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.members.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl Declaration {
    /// What is written at a path, without the blanks between its parts.
    pub fn says(&self, path: &str) -> Option<&str> {
        Some(self.value.as_ref()?.at(path)?.text.as_str())
    }

    pub fn resource_type(&self) -> &str {
        self.of.split('@').next().unwrap()
    }

    pub fn version(&self) -> &str {
        self.of.split('@').nth(1).unwrap()
    }
}

/// Every Bicep file below `infra/`.
pub fn files() -> Vec<Bicep> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("infra")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "bicep") {
                files.push(Bicep::read(path));
            }
        }
    }
    files
}

/// One of them, such as `modules/app`.
pub fn file(name: &str) -> Bicep {
    Bicep::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("infra").join(format!("{name}.bicep")))
}

impl Bicep {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(path, text)
    }

    pub fn parse(path: PathBuf, text: String) -> Self {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_bicep::LANGUAGE.into()).unwrap();
        let tree = parser.parse(&text, None).unwrap();
        assert_sound(tree.root_node(), &path);
        let (mut declarations, mut used, mut decorators) = (Vec::new(), BTreeSet::new(), Vec::new());
        for node in children(tree.root_node()) {
            let kind = match node.kind() {
                "parameter_declaration" => Kind::Parameter,
                "variable_declaration" => Kind::Variable,
                "resource_declaration" => Kind::Resource,
                "module_declaration" => Kind::Module,
                "output_declaration" => Kind::Output,
                "decorators" => {
                    let name = |decorator: Node<'_>| slice(decorator, &text)[1..].split('(').next().unwrap().to_owned();
                    decorators = children(node).map(name).collect();
                    continue;
                }
                "target_scope_assignment" => continue,
                unknown => panic!("{}: {unknown} is unknown to this test", path.display()),
            };
            declarations.push(declaration(kind, node, &text, std::mem::take(&mut decorators)));
            collect_names(node, &text, &mut used);
        }
        Self { path, text, declarations, used }
    }

    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Declaration> {
        self.declarations.iter().filter(move |declaration| declaration.kind == kind)
    }

    pub fn names(&self, kind: Kind) -> BTreeSet<&str> {
        self.all(kind).map(|declaration| declaration.name.as_str()).collect()
    }

    pub fn get(&self, kind: Kind, name: &str) -> &Declaration {
        self.all(kind)
            .find(|declaration| declaration.name == name)
            .unwrap_or_else(|| panic!("{}: no {kind:?} {name}", self.path.display()))
    }

    /// Of a variable: what is written.
    pub fn variable(&self, name: &str) -> &Value {
        self.get(Kind::Variable, name).value.as_ref().unwrap()
    }

    /// The text that an expression stands for: a literal, a variable, or a literal with variables in it.
    pub fn literal(&self, expression: &str) -> String {
        let Some(text) = expression.strip_prefix('\'') else { return self.literal(&self.variable(expression).text) };
        let text = text.strip_suffix('\'').unwrap();
        let mut parts = text.split("${");
        let first = parts.next().unwrap().to_owned();
        parts.fold(first, |whole, part| {
            let (name, rest) = part.split_once('}').unwrap();
            whole + &self.literal(name) + rest
        })
    }
}

fn children(node: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    let count = u32::try_from(node.named_child_count()).unwrap();
    (0..count).filter_map(move |i| node.named_child(i)).filter(|child| !child.is_extra())
}

fn slice<'t>(node: Node<'_>, text: &'t str) -> &'t str {
    &text[node.byte_range()]
}

/// The grammar takes any text and marks what it does not understand.
fn assert_sound(node: Node<'_>, path: &Path) {
    let place = node.start_position();
    assert!(!node.is_error() && !node.is_missing(), "{}:{} is no Bicep", path.display(), place.row + 1);
    let mut cursor = node.walk();
    node.children(&mut cursor).for_each(|child| assert_sound(child, path));
}

fn declaration(kind: Kind, node: Node<'_>, text: &str, decorators: Vec<String>) -> Declaration {
    let parts: Vec<_> = children(node).collect();
    let is_existing = node.children(&mut node.walk()).any(|child| child.kind() == "existing");
    let (of, rest) = match kind {
        Kind::Resource | Kind::Module => (slice(parts[1], text).trim_matches('\'').to_owned(), &parts[2..]),
        Kind::Parameter | Kind::Output => (slice(parts[1], text).to_owned(), &parts[2..]),
        Kind::Variable => (String::new(), &parts[1..]),
    };
    let value = rest.iter().rfind(|part| part.kind() != "existing").map(|part| value(*part, text));
    Declaration { kind, name: slice(parts[0], text).to_owned(), of, is_existing, decorators, value }
}

/// Of a loop or a condition: what is declared in it.
fn value(node: Node<'_>, text: &str) -> Value {
    if matches!(node.kind(), "for_statement" | "if_statement") {
        return value(children(node).last().unwrap(), text);
    }
    let members = match node.kind() {
        "object" => children(node).map(|property| member(property, text)).collect(),
        _ => Vec::new(),
    };
    let words: Vec<_> = slice(node, text).split_whitespace().collect();
    Value { text: words.join(" "), members }
}

fn member(property: Node<'_>, text: &str) -> (String, Value) {
    let parts: Vec<_> = children(property).collect();
    (slice(parts[0], text).trim_matches('\'').to_owned(), value(*parts.last().unwrap(), text))
}

/// The names in expressions: neither what is declared, nor the keys of objects, nor functions.
fn collect_names(node: Node<'_>, text: &str, names: &mut BTreeSet<String>) {
    if node.kind() == "identifier" {
        names.insert(slice(node, text).to_owned());
        return;
    }
    let names_itself =
        node.kind().ends_with("_declaration") || matches!(node.kind(), "object_property" | "call_expression");
    // A key may be computed, and a function belong to something: then the first is an expression like any other.
    let own = children(node).take(usize::from(names_itself)).filter(|first| first.kind() == "identifier").count();
    children(node).skip(own).for_each(|child| collect_names(child, text, names));
}
