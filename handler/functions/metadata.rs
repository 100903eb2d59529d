//! `Metadata`: what this server can do, for clients that ask before they export.

use serde_json::Value;

use crate::bulk::capability;
use crate::bulk::rejection::Rejection;
use crate::bulk::request::Terms;

use super::{App, smart_configuration};

/// The CapabilityStatement.
pub async fn capabilities(app: &App) -> Value {
    let security = smart_configuration::security(app).await;
    let Terms { public_url, release, .. } = &app.settings.terms;
    capability::statement(public_url, *release, &security, app.now())
}

/// The OperationDefinition of this id.
pub fn operation(app: &App, id: &str) -> Result<Value, Rejection> {
    let definition = capability::operation(&app.settings.terms.public_url, id);
    let told =
        "There is no OperationDefinition of this id; there are \"export\", \"patient-export\" and \"group-export\".";
    definition.ok_or_else(|| Rejection::not_found(told))
}
