//! The app settings: what was given to the host, over the environment of this process.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// App settings by name. As in the real host, the process environment counts as well; a given setting wins.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    given: BTreeMap<String, String>,
}

impl Settings {
    pub fn new(given: BTreeMap<String, String>) -> Self {
        Self { given }
    }

    pub fn get(&self, name: &str) -> Option<String> {
        self.given.get(name).cloned().or_else(|| std::env::var(name).ok())
    }

    /// Everything the handler process inherits, given settings last, so that they win.
    pub fn all(&self) -> impl Iterator<Item = (String, String)> {
        let environment = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
        environment.chain(self.given.clone())
    }

    /// Only what was given.
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    /// Replaces each `%NAME%`; a name without a value is an error, as it is in a binding.
    pub fn expand(&self, text: &str) -> Result<String> {
        self.replace(text, |name| match self.get(name) {
            Some(value) => Ok(value),
            None => bail!("%{name}% does not resolve to a value"),
        })
    }

    /// Replaces each `%NAME%`; a name without a value vanishes, as it does in the executable's path and arguments.
    pub fn expand_or_drop(&self, text: &str) -> String {
        let dropped = self.replace(text, |name| Ok(self.get(name).unwrap_or_default()));
        dropped.expect("the replacement above is never an error")
    }

    fn replace(&self, text: &str, value: impl Fn(&str) -> Result<String>) -> Result<String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, name, after)) = next_reference(rest) {
            expanded.push_str(before);
            expanded.push_str(&value(name)?);
            rest = after;
        }
        Ok(expanded + rest)
    }

    #[cfg(test)]
    pub fn of(given: &[(&str, &str)]) -> Self {
        Self::new(given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }
}

fn next_reference(text: &str) -> Option<(&str, &str, &str)> {
    let (before, from_name) = text.split_once('%')?;
    let (name, after) = from_name.split_once('%')?;
    Some((before, name, after))
}

/// What .NET and the host take for true.
pub fn truthy(text: &str) -> bool {
    text == "1" || text.eq_ignore_ascii_case("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_missing_ones_differ_by_place() {
        let settings = Settings::of(&[("QUEUE", "export-steps"), ("SUFFIX", "poison")]);
        assert_eq!(settings.expand("%QUEUE%-%SUFFIX%").unwrap(), "export-steps-poison");
        assert_eq!(settings.expand("100%").unwrap(), "100%");
        assert!(settings.expand("%NO_SUCH_SETTING%").unwrap_err().to_string().contains("NO_SUCH_SETTING"));
        assert_eq!(settings.expand_or_drop("bin/%NO_SUCH_SETTING%handler"), "bin/handler");
    }
}
