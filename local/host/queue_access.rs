//! Opens a storage queue from a connection string, as the queue trigger's `connection` setting holds one.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use azure_core::credentials::Secret;
use azure_core::hmac::hmac_sha256;
use azure_storage_queue::QueueClient;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};
use time::{Duration, OffsetDateTime};
use url::Url;

/// The account that every storage emulator knows; its key is public.
pub const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
pub const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Ports 10000 and 10001 are the emulator's own.
const EMULATOR_QUEUES: &str = "http://127.0.0.1:10001/devstoreaccount1";

const SAS_VERSION: &str = "2021-06-08";
/// The signature is made once per start, so it must outlive any run of the stand-in.
const SAS_LIFETIME: Duration = Duration::days(365);
const SECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: None }).encode();

/// A client of one queue. Reports and errors must show it by name only: its URL holds a signature.
pub fn open(connection: &str, queue: &str) -> Result<QueueClient> {
    let account = Account::parse(connection).context("storage connection string")?;
    let mut url = account.endpoint;
    url.path_segments_mut().ok().context("the queue endpoint cannot have a path")?.pop_if_empty().push(queue);
    url.set_query(Some(&account.sas));
    QueueClient::new(url, None, None).with_context(|| format!("open queue {queue}"))
}

struct Account {
    endpoint: Url,
    /// A query without the question mark.
    sas: String,
}

impl Account {
    fn parse(connection: &str) -> Result<Self> {
        let fields: HashMap<_, _> = connection
            .split(';')
            .filter_map(|field| field.trim().split_once('='))
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        let field = |name: &str| fields.get(name).copied();
        if field("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Self::with_key(EMULATOR_QUEUES.parse()?, EMULATOR_ACCOUNT, EMULATOR_KEY);
        }
        let endpoint = match (field("queueendpoint"), field("accountname")) {
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(account)) => {
                let protocol = field("defaultendpointsprotocol").unwrap_or("https");
                let suffix = field("endpointsuffix").unwrap_or("core.windows.net");
                format!("{protocol}://{account}.queue.{suffix}")
            }
            (None, None) => anyhow::bail!("neither QueueEndpoint nor AccountName is given"),
        };
        let endpoint = endpoint.parse().context("QueueEndpoint is not a URL")?;
        if let Some(sas) = field("sharedaccesssignature") {
            return Ok(Self { endpoint, sas: sas.trim_start_matches('?').to_owned() });
        }
        let account = field("accountname").context("AccountName is missing")?;
        Self::with_key(
            endpoint,
            account,
            field("accountkey").context("AccountKey or SharedAccessSignature is missing")?,
        )
    }

    fn with_key(endpoint: Url, account: &str, key: &str) -> Result<Self> {
        ensure!(!account.is_empty(), "AccountName is empty");
        let sas = account_sas(account, key, "q", OffsetDateTime::now_utc() + SAS_LIFETIME)?;
        Ok(Self { endpoint, sas })
    }
}

/// An account SAS for everything that can be done in these services (`b` blobs, `q` queues), creating containers and
/// queues included.
pub fn account_sas(account: &str, key: &str, services: &str, expires: OffsetDateTime) -> Result<String> {
    let (permissions, types) = ("rwdlacup", "sco");
    let expires = expires.to_utc().format(&Iso8601::<SECONDS>).context("the expiry date is out of range")?;
    // start, IP range, protocol and encryption scope stay empty
    let to_sign = format!("{account}\n{permissions}\n{services}\n{types}\n\n{expires}\n\n\n{SAS_VERSION}\n\n");
    let signature = hmac_sha256(&to_sign, &Secret::new(key.to_owned())).ok().context("AccountKey is not base64")?;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("sv", SAS_VERSION), ("ss", services), ("srt", types), ("sp", permissions)])
        .extend_pairs([("se", expires.as_str()), ("sig", signature.as_str())])
        .finish();
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(connection: &str) -> Url {
        open(connection, "export-steps").unwrap().url().clone()
    }

    #[test]
    fn the_emulator_is_known_by_its_short_form() {
        let url = url("UseDevelopmentStorage=true");
        assert!(url.as_str().starts_with("http://127.0.0.1:10001/devstoreaccount1/export-steps?sv=2021-06-08&ss=q"));
    }

    #[test]
    fn the_endpoint_follows_from_the_account_or_is_given() {
        let keyed =
            url("DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=a2V5;EndpointSuffix=core.windows.net");
        assert!(keyed.as_str().starts_with("https://acct.queue.core.windows.net/export-steps?"));
        let signed = url("QueueEndpoint=https://acct.queue.core.windows.net/;SharedAccessSignature=sv=1&sig=a%3D");
        assert_eq!(signed.as_str(), "https://acct.queue.core.windows.net/export-steps?sv=1&sig=a%3D");
    }

    #[test]
    fn what_is_missing_is_named_without_showing_the_key() {
        for (connection, missing) in [
            ("AccountKey=a2V5", "AccountName"),
            ("AccountName=acct", "AccountKey"),
            ("AccountName=a;AccountKey=§", "base64"),
        ] {
            let error = format!("{:#}", open(connection, "export-steps").err().unwrap());
            assert!(error.contains(missing) && !error.contains("a2V5") && !error.contains('§'), "{error}");
        }
    }
}
