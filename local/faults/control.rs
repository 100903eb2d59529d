//! The control paths on an emulator's port.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{Active, Faults, Rule};
use crate::server::{Body, full};

impl Faults {
    /// Whether a request is about the emulator itself and not for it.
    pub fn is_control(request: &Request<Incoming>) -> bool {
        matches!(request.uri().path(), "/_rules" | "/_calls")
    }

    pub async fn control(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let answer = match (head.method, head.uri.path()) {
            (Method::GET, "/_calls") => Ok(json!(self.state().calls)),
            (Method::GET, "/_rules") => Ok(self.state().rules.iter().map(Active::shown).collect()),
            (Method::DELETE, "/_rules") => self.set(Vec::new()).map(|()| json!([])),
            (Method::PUT, "/_rules") => match body.collect().await {
                Ok(body) => self.replace(&body.to_bytes()),
                Err(error) => Err(error.to_string()),
            },
            (method, path) => Err(format!("there is no {method} {path}")),
        };
        let (status, body) = match answer {
            Ok(body) => (StatusCode::OK, body),
            Err(why) => (StatusCode::BAD_REQUEST, json!({ "error": why })),
        };
        let mut response = Response::new(full(body.to_string()));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, const { hyper::header::HeaderValue::from_static("application/json") });
        response
    }

    fn replace(&self, body: &Bytes) -> Result<Value, String> {
        let rules: Vec<Rule> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let shown = json!(rules);
        self.set(rules)?;
        Ok(shown)
    }
}

impl Active {
    fn shown(&self) -> Value {
        let mut shown = json!(self.rule);
        shown["met"] = self.met.into();
        shown["struck"] = self.struck.into();
        shown
    }
}
