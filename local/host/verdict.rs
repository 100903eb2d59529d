//! What the host makes of a handler's answer to a queue or timer payload.

use serde::Deserialize;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With the lines to log.
    Succeeded(Vec<String>),
    Failed(String),
    /// The host never completes the invocation: it ends by `functionTimeout`.
    Hangs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    logs: Option<Vec<String>>,
}

/// Reads an answer by the host's table; `content_type` is that of the header.
pub fn judge(status: u16, content_type: Option<&str>, body: &[u8]) -> Verdict {
    if !(200..300).contains(&status) {
        return Verdict::Failed(format!("status {status}: {}", excerpt(body)));
    }
    if body.is_empty() {
        return Verdict::Hangs;
    }
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Verdict::Failed(format!("no formatter for an answer of type {media_type:?}"));
    }
    match serde_json::from_slice::<Option<Answer>>(body) {
        Ok(Some(answer)) if body.trim_ascii_start().starts_with(b"{") => {
            Verdict::Succeeded(answer.logs.unwrap_or_default())
        }
        Ok(None) => Verdict::Hangs,
        Ok(Some(_)) | Err(_) => Verdict::Failed(format!("the answer is not the expected JSON: {}", excerpt(body))),
    }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_the_hosts_table() {
        let json = Some("application/json; charset=utf-8");
        assert_eq!(judge(200, json, b"{}"), Verdict::Succeeded(vec![]));
        assert_eq!(judge(200, json, br#"{"Logs":["a"],"Outputs":{}}"#), Verdict::Succeeded(vec!["a".into()]));
        assert_eq!(judge(204, None, b""), Verdict::Hangs);
        assert_eq!(judge(200, json, b" null "), Verdict::Hangs);
        for (status, kind, body) in [
            (500, json, "{}"),
            (302, json, "{}"),
            (200, Some("text/plain"), "{}"),
            (200, None, "{}"),
            (200, json, "{"),
            (200, json, "[]"),
        ] {
            assert!(matches!(judge(status, kind, body.as_bytes()), Verdict::Failed(_)), "{status} {kind:?} {body}");
        }
    }
}
