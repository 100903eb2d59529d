//! The settings that say how callers prove who they are.

use std::time::Duration;

use url::Url;

use crate::bulk::authority::{Authority, Authorization, Issuer, Plain, is_loopback};
use crate::bulk::scope::Reads;

use super::Reader;

const AUTHORIZATION: &str = "EXPORT_AUTHORIZATION";
const ISSUERS: &str = "EXPORT_OAUTH_ISSUERS";
const AUDIENCES: &str = "EXPORT_OAUTH_AUDIENCES";
const KEYS: &str = "EXPORT_OAUTH_JWKS_URI";
const HOSTS: &str = "EXPORT_OAUTH_HOSTS";
const TOKEN_ENDPOINT: &str = "EXPORT_OAUTH_TOKEN_ENDPOINT";
const ROLES: &str = "EXPORT_OAUTH_ROLES";
const ADMINISTRATORS: &str = "EXPORT_OAUTH_ADMINISTRATORS";
const SKEW: &str = "EXPORT_OAUTH_SKEW_SECONDS";

impl Reader<'_> {
    pub(super) fn authorization(&mut self) -> Authorization {
        match self.text(AUTHORIZATION).as_deref() {
            Some("oauth") => Authorization::Tokens(self.authority()),
            Some("keys") => {
                // Whoever sets this means to have tokens checked.
                if self.text(ISSUERS).is_some() {
                    self.problem(ISSUERS, &format!("has no effect without {AUTHORIZATION}=oauth"));
                }
                Authorization::Keys
            }
            Some(_) | None => {
                self.problem(AUTHORIZATION, "is neither keys nor oauth");
                Authorization::Keys
            }
        }
    }

    fn authority(&mut self) -> Authority {
        let plain = match self.text("IDENTITY_ENDPOINT") {
            Some(_) => Plain::Never,
            None => Plain::OnLoopback,
        };
        let [names, audiences] = [ISSUERS, AUDIENCES].map(|name| self.needed(name));
        let keys = self.text(KEYS).and_then(|text| self.secure(KEYS, &text, plain));
        let token_endpoint = self.text(TOKEN_ENDPOINT).and_then(|text| self.secure(TOKEN_ENDPOINT, &text, plain));
        if keys.is_some() && names.len() > 1 {
            self.problem(KEYS, "can stand beside one issuer only: the others would be trusted to have the same keys");
        }
        if keys.is_some() && token_endpoint.is_none() {
            self.problem(TOKEN_ENDPOINT, &format!("is required beside {KEYS}: then the issuer is not asked for it"));
        }
        for name in &names {
            self.check_issuer(name, plain);
        }
        let issuers = names.into_iter().map(|name| Issuer { name, keys: keys.clone() }).collect();
        Authority {
            issuers,
            audiences,
            hosts: self.items(HOSTS).iter().map(|host| host.to_ascii_lowercase()).collect(),
            roles: self.roles(),
            administrators: self.administrators(),
            skew: Duration::from_secs(self.number(SKEW, 0, 300)),
            token_endpoint,
            plain,
        }
    }

    /// The items of a list, to the letter.
    fn items(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn needed(&mut self, name: &str) -> Vec<String> {
        let items = self.items(name);
        if items.is_empty() {
            self.problem(name, &format!("is required with {AUTHORIZATION}=oauth"));
        }
        items
    }

    /// Part of every caller's name: with an "@" in it, two callers could have one name.
    fn check_issuer(&mut self, name: &str, plain: Plain) {
        let Some(url) = self.secure(ISSUERS, name, plain) else { return };
        if name.contains('@') || url.query().is_some() || url.fragment().is_some() {
            self.problem(ISSUERS, "holds a URL with more than a host and a path");
        }
    }

    /// A URL of https, or of a server on this machine in development.
    fn secure(&mut self, name: &str, text: &str, plain: Plain) -> Option<Url> {
        let url = self.url(name, text)?;
        if url.scheme() == "https" || (plain == Plain::OnLoopback && is_loopback(&url)) {
            return Some(url);
        }
        self.problem(name, "is not https: whoever is in between could let in anybody");
        None
    }

    /// `role=scope scope`.
    fn roles(&mut self) -> Vec<(String, Vec<String>)> {
        let mut roles = Vec::new();
        for item in self.items(ROLES) {
            let (role, scopes) = item.split_once('=').unwrap_or((&item, ""));
            let scopes: Vec<String> = scopes.split_whitespace().map(str::to_owned).collect();
            if scopes.is_empty() || scopes.iter().any(|scope| Reads::of([scope.as_str()]).is_nothing()) {
                self.problem(
                    ROLES,
                    "holds a role that does not stand for scopes like system/*.rs or system/Patient.rs",
                );
            }
            roles.push((role.trim().to_owned(), scopes));
        }
        roles
    }

    fn administrators(&mut self) -> Vec<String> {
        let names = self.items(ADMINISTRATORS);
        if names.iter().any(|name| !Reads::of([name.as_str()]).is_nothing()) {
            self.problem(ADMINISTRATORS, "holds a scope that lets clients read: they are no administrators for that");
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Authorization, Vec<String>) {
        let given: BTreeMap<_, _> = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut reader = Reader { given: &given, problems: Vec::new() };
        let authorization = reader.authorization();
        (authorization, reader.problems)
    }

    const ENTRA: [(&str, &str); 5] = [
        (AUTHORIZATION, "oauth"),
        (ISSUERS, "https://login.example/tenant/v2.0"),
        (AUDIENCES, "api://export"),
        (ROLES, "Export.All=system/*.rs, Export.Patients=system/Patient.rs system/Group.rs"),
        (ADMINISTRATORS, "Export.Admin"),
    ];

    #[test]
    fn by_default_the_host_asks_for_keys() {
        let (authorization, problems) = read(&[]);
        assert!(matches!(authorization, Authorization::Keys));
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn an_authority_is_read_to_the_letter() {
        let (authorization, problems) = read(&ENTRA);
        assert_eq!(problems, Vec::<String>::new());
        let Authorization::Tokens(authority) = authorization else { panic!("no authority") };
        assert_eq!(authority.issuers[0].name, "https://login.example/tenant/v2.0");
        assert_eq!(authority.roles[1].1, ["system/Patient.rs", "system/Group.rs"]);
        assert_eq!(authority.skew, Duration::from_secs(60));
    }

    #[test]
    fn what_would_let_in_others_is_a_problem() {
        for (name, value, hint) in [
            (AUTHORIZATION, "off", "neither keys nor oauth"),
            (AUTHORIZATION, "keys", "EXPORT_OAUTH_ISSUERS has no effect"),
            (ISSUERS, "", "is required"),
            (AUDIENCES, " , ", "is required"),
            (ISSUERS, "http://login.example/", "is not https"),
            (ISSUERS, "https://login.example/?tenant=1", "more than a host and a path"),
            (ISSUERS, "https://a@login.example/", "more than a host and a path"),
            (ISSUERS, "login.example", "is not an http or https URL"),
            (KEYS, "http://login.example/keys", "is not https"),
            (KEYS, "https://login.example/keys", "EXPORT_OAUTH_TOKEN_ENDPOINT is required"),
            (ROLES, "Export.All", "does not stand for scopes"),
            (ROLES, "Export.All=system/*.write", "does not stand for scopes"),
            (ADMINISTRATORS, "system/*.rs", "no administrators for that"),
            (SKEW, "301", "is not a number from 0 to 300"),
        ] {
            let mut settings = ENTRA.to_vec();
            settings.retain(|(other, _)| *other != name);
            settings.push((name, value));
            let (_, problems) = read(&settings);
            assert!(problems.iter().any(|problem| problem.contains(hint)), "{name}={value}: {problems:?}");
        }
    }

    #[test]
    fn only_in_development_an_issuer_on_this_machine_may_do_without_tls() {
        let mut settings = ENTRA.to_vec();
        settings.push((ISSUERS, "http://127.0.0.1:8080/"));
        assert_eq!(read(&settings).1, Vec::<String>::new());
        settings.push(("IDENTITY_ENDPOINT", "http://169.254.0.1/"));
        assert!(read(&settings).1[0].contains("is not https"));
    }
}
