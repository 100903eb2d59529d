//! Indexes the functions of an app: reads every `*/function.json` and refuses what the real host would refuse.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::route::Template;
use super::schedule::Schedule;
use super::settings::{Settings, truthy};

#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub trigger: Trigger,
}

#[derive(Clone, Debug)]
pub enum Trigger {
    Http(HttpTrigger),
    Queue(QueueTrigger),
    Timer(TimerTrigger),
}

#[derive(Clone, Debug)]
pub struct HttpTrigger {
    /// With the route prefix of `host.json`.
    pub template: Template,
    /// Upper case. `None` admits every method.
    pub methods: Option<Vec<String>>,
    pub level: Level,
}

/// `authLevel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Anonymous,
    /// A key of the app is asked for.
    Function,
}

#[derive(Clone, Debug)]
pub struct QueueTrigger {
    /// The name of the binding: the key under `Data`.
    pub binding: String,
    pub queue: String,
    /// The connection string itself, already looked up.
    pub connection: String,
    pub content: Content,
}

/// `dataType` of a queue trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Text,
    Binary,
}

#[derive(Clone, Debug)]
pub struct TimerTrigger {
    pub binding: String,
    pub schedule: Schedule,
    pub run_on_startup: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionJson {
    bindings: Vec<Binding>,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    direction: Option<String>,
    route: Option<String>,
    methods: Option<Vec<String>>,
    auth_level: Option<String>,
    queue_name: Option<String>,
    connection: Option<String>,
    data_type: Option<String>,
    schedule: Option<String>,
    #[serde(default)]
    run_on_startup: bool,
}

/// The functions in the order in which the host tries their routes: by name, ignoring case.
pub fn index(app_root: &Path, route_prefix: &str, settings: &Settings) -> Result<Vec<Function>> {
    let mut functions = Vec::new();
    for entry in std::fs::read_dir(app_root).with_context(|| format!("list {}", app_root.display()))? {
        let folder = entry?;
        let file = folder.path().join("function.json");
        if !file.is_file() {
            continue;
        }
        let name = folder.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let function = parse(&name, &text, route_prefix, settings).with_context(|| format!("function {name}"))?;
        functions.extend(function);
    }
    ensure!(!functions.is_empty(), "{} holds no function", app_root.display());
    functions.sort_by_key(|function| function.name.to_uppercase());
    refuse_conflicts(&functions)?;
    Ok(functions)
}

fn parse(name: &str, text: &str, route_prefix: &str, settings: &Settings) -> Result<Option<Function>> {
    let json: FunctionJson = serde_json::from_str(text).context("function.json")?;
    let disabled_by_setting = settings.get(&format!("AzureWebJobs.{name}.Disabled")).is_some_and(|v| truthy(&v));
    if json.disabled || disabled_by_setting {
        return Ok(None);
    }
    ensure!(is_function_name(name), "the name must match ^[a-z][a-z0-9_-]{{0,127}}$ and not be \"host\"");
    for binding in &json.bindings {
        ensure!(is_binding_name(&binding.name), "binding name {:?} is not valid", binding.name);
    }
    let is_trigger = |binding: &&Binding| binding.kind.to_lowercase().ends_with("trigger");
    let triggers: Vec<_> = json.bindings.iter().filter(is_trigger).collect();
    let [binding] = triggers.as_slice() else {
        bail!("a function has exactly one trigger, not {}", triggers.len());
    };
    let others: Vec<_> = json.bindings.iter().filter(|binding| !is_trigger(binding)).collect();
    ensure!(matches!(binding.direction.as_deref(), None | Some("in")), "a trigger has the direction \"in\"");
    let trigger = match binding.kind.to_lowercase().as_str() {
        "httptrigger" => Trigger::Http(http(name, binding, &others, route_prefix)?),
        "queuetrigger" => Trigger::Queue(queue(binding, &others, settings)?),
        "timertrigger" => Trigger::Timer(timer(binding, &others, settings)?),
        other => bail!("trigger type {other:?} is not supported by the stand-in"),
    };
    Ok(Some(Function { name: name.to_owned(), trigger }))
}

fn http(name: &str, binding: &Binding, others: &[&Binding], route_prefix: &str) -> Result<HttpTrigger> {
    let [output] = others else {
        bail!("only functions with one httpTrigger and one http output are forwarded as HTTP; this has other bindings");
    };
    let is_http_output = output.kind.eq_ignore_ascii_case("http") && output.direction.as_deref() == Some("out");
    ensure!(is_http_output, "beside the httpTrigger there must be one binding of type http and direction out");
    let route = binding.route.as_deref().filter(|route| !route.trim().is_empty()).unwrap_or(name);
    let reserved = route.trim_matches('/').to_lowercase();
    let is_reserved = reserved.starts_with("admin") || reserved.starts_with("runtime");
    ensure!(!is_reserved, "route {route:?} conflicts with one or more built in routes");
    let methods = binding.methods.as_ref().filter(|methods| !methods.is_empty());
    Ok(HttpTrigger {
        template: Template::parse(route)?.below(route_prefix),
        methods: methods.map(|methods| methods.iter().map(|method| method.to_uppercase()).collect()),
        level: match binding.auth_level.as_deref().unwrap_or("function").to_lowercase().as_str() {
            "anonymous" => Level::Anonymous,
            "function" => Level::Function,
            other => bail!("authLevel {other:?} is not supported by the stand-in"),
        },
    })
}

fn queue(binding: &Binding, others: &[&Binding], settings: &Settings) -> Result<QueueTrigger> {
    ensure!(others.is_empty(), "the stand-in supports no further binding beside a queueTrigger");
    let queue = settings.expand(binding.queue_name.as_deref().context("queueName is missing")?)?.to_lowercase();
    ensure!(is_queue_name(&queue), "{queue:?} is not a valid queue name");
    let name = binding.connection.as_deref().filter(|name| !name.is_empty()).unwrap_or("AzureWebJobsStorage");
    let connection = settings.get(&format!("AzureWebJobs{name}")).or_else(|| settings.get(name));
    Ok(QueueTrigger {
        binding: binding.name.clone(),
        queue,
        connection: connection
            .with_context(|| format!("setting {name} with the storage connection string is missing"))?,
        content: match binding.data_type.as_deref().unwrap_or("string").to_lowercase().as_str() {
            "string" => Content::Text,
            "binary" => Content::Binary,
            other => bail!("dataType {other:?} is not supported by the stand-in"),
        },
    })
}

fn timer(binding: &Binding, others: &[&Binding], settings: &Settings) -> Result<TimerTrigger> {
    ensure!(others.is_empty(), "the stand-in supports no further binding beside a timerTrigger");
    let schedule = settings.expand(binding.schedule.as_deref().context("schedule is missing")?)?;
    Ok(TimerTrigger {
        binding: binding.name.clone(),
        schedule: Schedule::parse(&schedule)?,
        run_on_startup: binding.run_on_startup,
    })
}

/// Two functions of one route must not share a method.
fn refuse_conflicts(functions: &[Function]) -> Result<()> {
    for (at, one) in functions.iter().enumerate() {
        for other in &functions[at + 1..] {
            let same_name = one.name.eq_ignore_ascii_case(&other.name);
            ensure!(!same_name, "functions {} and {} have the same name", one.name, other.name);
            let (Trigger::Http(a), Trigger::Http(b)) = (&one.trigger, &other.trigger) else {
                continue;
            };
            let same_route = a.template.text.to_lowercase() == b.template.text.to_lowercase();
            let conflict = same_route && methods_intersect(a.methods.as_deref(), b.methods.as_deref());
            ensure!(!conflict, "the route of function {} conflicts with that of function {}", other.name, one.name);
        }
    }
    Ok(())
}

fn methods_intersect(a: Option<&[String]>, b: Option<&[String]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
        (None, _) | (_, None) => true,
    }
}

fn is_function_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.len() <= 128
        && !name.eq_ignore_ascii_case("host")
}

fn is_binding_name(name: &str) -> bool {
    let letters = name.starts_with(|first: char| first.is_ascii_alphabetic());
    name == "$return" || (letters && name.chars().all(|c| c.is_ascii_alphanumeric()))
}

fn is_queue_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

#[cfg(test)]
mod tests {
    use super::super::tests::TestDir;
    use super::*;

    const STATUS: &str = r#"{"bindings":[
        {"type":"httpTrigger","direction":"in","name":"req","methods":["get"],"route":"_operations/export/{jobId}"},
        {"type":"http","direction":"out","name":"res"}]}"#;

    fn app(functions: &[(&str, &str)]) -> Result<Vec<Function>> {
        let root = TestDir::new();
        for (name, json) in functions {
            root.write(&format!("{name}/function.json"), json);
        }
        let settings =
            Settings::of(&[("AzureWebJobsStorage", "UseDevelopmentStorage=true"), ("QUEUE", "export-steps")]);
        index(root.path(), "", &settings)
    }

    fn refused(functions: &[(&str, &str)]) -> String {
        format!("{:#}", app(functions).expect_err("the host should refuse this app"))
    }

    #[test]
    fn functions_come_in_name_order_ignoring_case() {
        let other = STATUS.replace("_operations", "other");
        let names: Vec<_> = app(&[("b", STATUS), ("A", &other)]).unwrap().into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["A", "b"]);
    }

    #[test]
    fn one_route_may_be_shared_only_by_disjoint_methods() {
        assert!(refused(&[("A", STATUS), ("B", &STATUS.replace("jobId", "JOBID"))]).contains("conflicts"));
        assert_eq!(app(&[("A", STATUS), ("B", &STATUS.replace("get", "delete"))]).unwrap().len(), 2);
    }

    #[test]
    fn reserved_routes_and_bad_names_are_refused() {
        assert!(refused(&[("A", &STATUS.replace("_operations", "admin"))]).contains("built in"));
        assert!(refused(&[("A", &STATUS.replace("_operations", "Runtime"))]).contains("built in"));
        assert!(refused(&[("host", STATUS)]).contains("name"));
        assert!(refused(&[("1st", STATUS)]).contains("name"));
        assert!(refused(&[("A", &STATUS.replace("\"req\"", "\"my-req\""))]).contains("my-req"));
    }

    #[test]
    fn an_http_function_with_a_third_binding_is_refused() {
        let third = STATUS.replace("]}", r#",{"type":"queue","direction":"out","name":"job","queueName":"q"}]}"#);
        assert!(refused(&[("A", &third)]).contains("other bindings"));
    }

    #[test]
    fn a_queue_trigger_resolves_its_queue_and_connection() {
        let json = r#"{"bindings":[{"type":"queueTrigger","direction":"in","name":"step","queueName":"%QUEUE%",
            "connection":"AzureWebJobsStorage"}]}"#;
        let functions = app(&[("Worker", json)]).unwrap();
        let Trigger::Queue(trigger) = &functions[0].trigger else { panic!("not a queue trigger") };
        assert_eq!((trigger.queue.as_str(), trigger.binding.as_str()), ("export-steps", "step"));
        assert_eq!(trigger.connection, "UseDevelopmentStorage=true");
        assert!(refused(&[("Worker", &json.replace("%QUEUE%", "%NO_SUCH_QUEUE%"))]).contains("NO_SUCH_QUEUE"));
        let elsewhere = json.replace(r#""AzureWebJobsStorage"}"#, r#""NoSuchConnection"}"#);
        assert!(refused(&[("Worker", &elsewhere)]).contains("NoSuchConnection"));
    }

    #[test]
    fn other_triggers_are_refused() {
        let json = r#"{"bindings":[{"type":"blobTrigger","direction":"in","name":"blob"}]}"#;
        assert!(refused(&[("A", json)]).contains("blobtrigger"));
    }
}
