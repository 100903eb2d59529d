//! A client that reads a manifest in pages: it follows the links, and holds the server to what it has delivered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::export::json as parsed;
use super::exported::Verdict;
use super::host::{Answer, Host};
use super::world::PUBLIC_URL;

const ARRAYS: [&str; 3] = ["output", "deleted", "error"];

/// What every page said when it was first delivered, by its path; without links, and without what is renewed of URLs.
#[derive(Debug, Default, PartialEq)]
pub struct Reader {
    pub pages: BTreeMap<String, Value>,
}

/// How far a client came.
pub struct Read {
    /// The last answer: to the poll, or to the last page that there is.
    pub answer: Answer,
    /// The manifest that all pages make together, once there are no more to come.
    pub whole: Option<Value>,
}

impl Reader {
    /// Reads as far as there is something to read.
    pub fn read(&mut self, host: &mut Host, status: &str) -> Verdict<Read> {
        let (mut path, mut whole) = (status.to_owned(), json!({}));
        let mut first = None;
        loop {
            let answer = get(host, &path);
            let code = answer.status().as_u16();
            let expected = *first.get_or_insert(code);
            if code != expected {
                return Err(format!("{path} was answered {code}, the first page {expected}"));
            }
            if !matches!(code, 200 | 202) || (code == 202 && answer.body().is_empty()) {
                return Ok(Read { answer, whole: None });
            }
            let page = parsed(&answer);
            add(&mut whole, &page)?;
            match self.remember(&path, page)? {
                Some(next) => path = next,
                None => return Ok(Read { whole: (code == 200).then_some(whole), answer }),
            }
        }
    }

    /// What was delivered is not changed later. Gives the path of the next page.
    fn remember(&mut self, path: &str, mut page: Value) -> Verdict<Option<String>> {
        let link = page.as_object_mut().and_then(|page| page.remove("link"));
        for array in ARRAYS {
            for file in page[array].as_array_mut().into_iter().flatten() {
                for link in ["url", "continuesInFile"] {
                    if let Some(url) = file[link].as_str() {
                        file[link] = url.split('?').next().unwrap_or_default().into();
                    }
                }
            }
        }
        let before = self.pages.entry(path.to_owned()).or_insert_with(|| page.clone());
        if *before != page {
            return Err(format!("{path} was {before}, and has become {page}"));
        }
        match link.as_ref().map(|link| link.as_array().map(Vec::as_slice)) {
            None => Ok(None),
            Some(Some([link])) if link["relation"] == "next" => {
                let url = link["url"].as_str().and_then(|url| url.strip_prefix(PUBLIC_URL));
                url.map(|url| Some(url.to_owned())).ok_or(format!("{path} links to {link}"))
            }
            Some(_) => Err(format!("{path} links to {link:?}")),
        }
    }
}

/// A client that reads so many pages waits where it is told to.
fn get(host: &mut Host, path: &str) -> Answer {
    loop {
        let answer = host.get(path);
        if answer.status() != 429 {
            return answer;
        }
        host.wait(Duration::from_secs(1));
    }
}

/// Adds a page to those before it, which must say the same of the export.
fn add(whole: &mut Value, page: &Value) -> Verdict<()> {
    for (key, value) in page.as_object().into_iter().flatten() {
        match whole.get_mut(key) {
            _ if key == "link" => {}
            None => whole[key] = value.clone(),
            Some(Value::Array(files)) => files.extend(value.as_array().into_iter().flatten().cloned()),
            Some(before) if before == value => {}
            Some(before) => return Err(format!("{key} is {before} on one page and {value} on another")),
        }
    }
    Ok(())
}
