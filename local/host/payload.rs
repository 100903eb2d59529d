//! The JSON that the host posts to a queue or timer function, in the host's exact encoding.

use azure_core::Uuid;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde::ser::Serializer;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::functions::Content;

/// How Json.NET writes a UTC `DateTimeOffset` without fractions.
const OFFSET_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+00:00");
/// How .NET writes a date by default, once Json.NET has taken a string for one.
const INVARIANT_DATE: &[BorrowedFormatItem<'_>] = format_description!("[month]/[day]/[year] [hour]:[minute]:[second]");

/// A queue message as the trigger sees it, with its content decoded.
#[derive(Clone, Debug)]
pub struct QueuedMessage {
    pub content: Vec<u8>,
    pub id: String,
    pub pop_receipt: String,
    pub dequeue_count: i64,
    pub insertion_time: OffsetDateTime,
    pub expiration_time: OffsetDateTime,
    pub next_visible_time: OffsetDateTime,
}

/// `Metadata.sys`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sys {
    pub method_name: String,
    pub utc_now: String,
    pub rand_guid: String,
}

impl Sys {
    pub fn of(function: &str, now: OffsetDateTime) -> Self {
        Self {
            method_name: function.to_owned(),
            utc_now: ticks(now).format(&Rfc3339).unwrap_or_default(),
            rand_guid: Uuid::new_v4().to_string(),
        }
    }
}

/// What a timer function gets under its binding's name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TimerInfo {
    schedule: TimerSchedule,
    schedule_status: Option<ScheduleStatus>,
    is_past_due: bool,
}

#[derive(Debug, Serialize)]
struct TimerSchedule {
    #[serde(rename = "AdjustForDST")]
    adjust_for_dst: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduleStatus {
    pub last: String,
    pub next: String,
    pub last_updated: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Payload {
    data: Entries,
    metadata: Entries,
}

/// A JSON object in the order of insertion, whose names are compared without regard to case.
#[derive(Default)]
struct Entries(Vec<(String, Entry)>);

#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Object(Value),
    Sys(Sys),
    Timer(TimerInfo),
}

/// The body of `POST /{function}` for one message.
pub fn of_message(binding: &str, content: Content, message: &QueuedMessage, sys: Sys) -> String {
    let text = String::from_utf8_lossy(&message.content);
    let mut metadata = Entries::default();
    metadata.set("DequeueCount", Entry::Text(message.dequeue_count.to_string()));
    metadata.set("ExpirationTime", Entry::Text(offset_date(message.expiration_time)));
    metadata.set("Id", encoded(&message.id));
    metadata.set("InsertionTime", Entry::Text(offset_date(message.insertion_time)));
    metadata.set("NextVisibleTime", Entry::Text(offset_date(message.next_visible_time)));
    metadata.set("PopReceipt", encoded(&message.pop_receipt));
    metadata.set("sys", Entry::Sys(sys));
    let mut data = Entries::default();
    match content {
        Content::Text => {
            data.set(binding, encoded(&text));
            metadata.leak(&text);
        }
        Content::Binary => data.set(binding, Entry::Text(BASE64_STANDARD.encode(&message.content))),
    }
    Payload { data, metadata }.to_json()
}

/// The body of `POST /{function}` for one tick.
pub fn of_timer(binding: &str, status: Option<ScheduleStatus>, sys: Sys) -> String {
    let schedule = TimerSchedule { adjust_for_dst: true };
    let info = TimerInfo { schedule, schedule_status: status, is_past_due: false };
    let (mut data, mut metadata) = (Entries::default(), Entries::default());
    data.set(binding, Entry::Timer(info));
    metadata.set("sys", Entry::Sys(sys));
    Payload { data, metadata }.to_json()
}

/// .NET counts time in units of 100 ns.
fn ticks(time: OffsetDateTime) -> OffsetDateTime {
    let whole = time.nanosecond() / 100 * 100;
    time.to_offset(time::UtcOffset::UTC).replace_nanosecond(whole).unwrap_or(time)
}

pub fn offset_date(time: OffsetDateTime) -> String {
    time.to_utc().format(OFFSET_DATE).unwrap_or_default()
}

impl Payload {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text keys and JSON values always serialise")
    }
}

impl Entries {
    /// Replaces a value of this name, whatever the case, in its place and under its first spelling.
    fn set(&mut self, name: &str, value: Entry) {
        match self.0.iter_mut().find(|(existing, _)| existing.eq_ignore_ascii_case(name)) {
            Some((_, existing)) => *existing = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// A message that is a JSON object leaks its top-level properties, over what the host knows itself.
    fn leak(&mut self, text: &str) {
        let Ok(Value::Object(properties)) = serde_json::from_str(text) else {
            return;
        };
        for (name, value) in properties {
            // The host leaves the trigger's own text out of the payload, by its ending alone.
            if name.to_lowercase().ends_with("trigger") {
                continue;
            }
            match value {
                Value::Null | Value::Array(_) => {}
                Value::Object(_) => self.set(&name, Entry::Object(value)),
                Value::Bool(true) => self.set(&name, encoded("True")),
                Value::Bool(false) => self.set(&name, encoded("False")),
                Value::Number(number) => self.set(&name, encoded(&number.to_string())),
                Value::String(text) => self.set(&name, encoded(&dated(text))),
            }
        }
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A string is encoded as JSON once more and sent as a string.
fn encoded(text: &str) -> Entry {
    Entry::Text(Value::from(text).to_string())
}

fn dated(text: String) -> String {
    match OffsetDateTime::parse(&text, &Rfc3339) {
        Ok(date) => date.to_utc().format(INVARIANT_DATE).unwrap_or(text),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn message(text: &str) -> QueuedMessage {
        QueuedMessage {
            content: text.into(),
            id: "52d5".into(),
            pop_receipt: "MThG".into(),
            dequeue_count: 1,
            insertion_time: datetime!(2025-02-18 03:06:19 UTC),
            expiration_time: datetime!(2025-02-25 03:06:19 UTC),
            next_visible_time: datetime!(2025-02-18 03:16:20 UTC),
        }
    }

    fn sys() -> Sys {
        let mut sys = Sys::of("queue", datetime!(2025-02-18 03:06:20.756_269_1 UTC));
        sys.rand_guid = "7e855b8b".into();
        sys
    }

    fn metadata(text: &str) -> Value {
        let json: Value = serde_json::from_str(&of_message("step", Content::Text, &message(text), sys())).unwrap();
        json["Metadata"].clone()
    }

    #[test]
    fn a_message_is_encoded_as_the_host_was_seen_to_do() {
        let captured = concat!(
            r#"{"Data":{"queue":"\"hello!!\""},"#,
            r#""Metadata":{"DequeueCount":"1","ExpirationTime":"2025-02-25T03:06:19+00:00","Id":"\"52d5\"","#,
            r#""InsertionTime":"2025-02-18T03:06:19+00:00","NextVisibleTime":"2025-02-18T03:16:20+00:00","#,
            r#""PopReceipt":"\"MThG\"","#,
            r#""sys":{"MethodName":"queue","UtcNow":"2025-02-18T03:06:20.7562691Z","RandGuid":"7e855b8b"}}}"#
        );
        assert_eq!(of_message("queue", Content::Text, &message("hello!!"), sys()), captured);
    }

    #[test]
    fn a_json_message_is_text_in_text_in_the_payload() {
        let text = r#"{"v":1,"job":"ä\"b"}"#;
        let payload: Value = serde_json::from_str(&of_message("step", Content::Text, &message(text), sys())).unwrap();
        let once: String = serde_json::from_str(payload["Data"]["step"].as_str().unwrap()).unwrap();
        assert_eq!(once, text);
    }

    #[test]
    fn properties_leak_over_the_built_ins() {
        let metadata = metadata(
            r#"{"id":"abc","dequeueCount":9,"v":1,"done":true,"at":"2025-02-18T03:06:19.5Z","sys":"mine",
                "step":{"chunk":3},"none":null,"list":[1],"queueTrigger":"x"}"#,
        );
        assert_eq!(metadata["Id"], r#""abc""#);
        assert_eq!(metadata["DequeueCount"], r#""9""#);
        assert_eq!((&metadata["v"], &metadata["done"]), (&Value::from(r#""1""#), &Value::from(r#""True""#)));
        assert_eq!(metadata["at"], r#""02/18/2025 03:06:19""#);
        assert_eq!(metadata["sys"], r#""mine""#);
        assert_eq!(metadata["step"]["chunk"], 3);
        for absent in ["none", "list", "queueTrigger", "id"] {
            assert!(metadata.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn only_a_json_object_leaks() {
        for text in ["hello", "[1]", "\"x\"", "{broken"] {
            assert_eq!(metadata(text).as_object().unwrap().len(), 7, "{text}");
        }
    }

    #[test]
    fn binary_content_is_plain_base64_and_leaks_nothing() {
        let payload = of_message("step", Content::Binary, &message(r#"{"id":"abc"}"#), sys());
        let payload: Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(payload["Data"]["step"], "eyJpZCI6ImFiYyJ9");
        assert_eq!(payload["Metadata"]["Id"], r#""52d5""#);
    }

    #[test]
    fn a_timer_gets_an_object() {
        let payload = of_timer("tick", None, sys());
        let expected =
            r#"{"Data":{"tick":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}},"#;
        assert!(payload.starts_with(expected), "{payload}");
    }
}
