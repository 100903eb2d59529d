//! Invocations of queue and timer functions: the host's JSON envelope in, the host's JSON envelope out.

use bytes::Buf;
use futures::Stream;
use serde_json::Value;
use warp::reply::Response;

use crate::bulk::rejection::Rejection;
use crate::bulk::step::{Step, Unreadable};
use crate::functions::{App, LATER_BUILD, poison, watch, worker};
use crate::ports::PortError;

use super::{read, reply};

/// Name of the trigger's binding in `ExportWorker/function.json` and `ExportPoison/function.json`.
const BINDING: &str = "step";

/// Runs the function `name`. Anything but an answer of 200 makes the host deliver the message again.
pub(super) async fn answer(
    app: Option<&App>,
    name: &str,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(rejection) => return reply::rejection(&rejection),
    };
    // While the feature is switched off, steps wait in the queue for the time that it is switched on again.
    let Some(app) = app else {
        return reply::rejection(&Rejection::transient("The feature is switched off."));
    };
    let done = match name {
        "ExportWatch" => watch::run(app).await.map_err(Refused::from),
        _ => take(app, name, &body).await,
    };
    match done {
        Ok(()) => reply::invoked(),
        Err(Refused::NoMessage(why)) => {
            tracing::error!(function = name, why, "an invocation without a step of ours");
            reply::not_invoked(why)
        }
        Err(Refused::Port(error)) => {
            tracing::error!(function = name, kind = error.kind.name(), %error, "invocation failed");
            reply::not_invoked("the step failed")
        }
    }
}

enum Refused {
    NoMessage(&'static str),
    Port(PortError),
}

impl From<PortError> for Refused {
    fn from(error: PortError) -> Self {
        Refused::Port(error)
    }
}

async fn take(app: &App, name: &str, body: &[u8]) -> Result<(), Refused> {
    let message = message(body).ok_or(Refused::NoMessage("the envelope holds no JSON object"))?;
    match Step::from_message(&message) {
        Ok(step) if name == "ExportPoison" => Ok(poison::run(app, &step).await?),
        Ok(step) => {
            worker::run(app, &step).await?;
            Ok(())
        }
        // Never poison: the build that wrote it will come for it.
        Err(Unreadable::Newer) => Ok(app.steps.put_back(&message.to_string(), LATER_BUILD).await?),
        // A message of ours was never like this: keeping it would only fill the log.
        Err(Unreadable::Broken) if name == "ExportPoison" => {
            tracing::error!("a message that is no step was dropped");
            Ok(())
        }
        Err(Unreadable::Broken) => Err(Refused::NoMessage("the message is no step")),
    }
}

/// The message in `Data.{binding}`: the host encodes the text once or twice more, so string layers are peeled off until
/// an object appears.
fn message(body: &[u8]) -> Option<Value> {
    let envelope: Value = serde_json::from_slice(body).ok()?;
    let mut message = envelope.get("Data")?.get(BINDING)?.clone();
    for _ in 0..MOST_LAYERS {
        match message {
            Value::String(text) => message = serde_json::from_str(&text).ok()?,
            Value::Object(_) => return Some(message),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
        }
    }
    message.is_object().then_some(message)
}

const MOST_LAYERS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_found_under_any_number_of_string_layers() {
        let step = json!({ "v": 1, "job": "x", "step": "plan" });
        let once = step.to_string();
        let twice = Value::from(once.clone()).to_string();
        for data in [step.clone(), once.into(), twice.clone().into(), Value::from(twice).to_string().into()] {
            let body = json!({ "Data": { "step": data }, "Metadata": { "step": "\"plan\"", "v": "\"1\"" } });
            assert_eq!(message(body.to_string().as_bytes()), Some(step.clone()));
        }
    }

    #[test]
    fn what_is_no_envelope_has_no_message() {
        for body in ["", "null", "{}", r#"{"Data":{}}"#, r#"{"Data":{"step":"hello"}}"#, r#"{"Data":{"step":[1]}}"#] {
            assert_eq!(message(body.as_bytes()), None, "{body}");
        }
    }
}
