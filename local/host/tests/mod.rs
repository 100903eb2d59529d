//! Stories of the stand-in with a small handler, and with Azurite where a queue is needed.

mod http;
mod process;
mod queue;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use azure_core::Uuid;
use azure_storage_queue::QueueClient;
use azure_storage_queue::models::{QueueClientGetPropertiesResultHeaders, QueueMessage};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::{Host, HostOptions, Logs, queue_access};
use crate::azurite::Azurite;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTION: &str = "AzureWebJobsStorage";

/// A folder that is removed at the end of the test.
pub struct TestDir(PathBuf);

impl TestDir {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fhir-export-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Azurite and its data, for as long as some test uses it.
type Shared = (Azurite, TestDir);

/// One for all tests that run at the same time; the last of them takes it down.
async fn azurite() -> Arc<Shared> {
    static RUNNING: Mutex<Weak<Shared>> = Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    if let Some(shared) = running.upgrade() {
        return shared;
    }
    let data = TestDir::new();
    let shared = Arc::new((Azurite::start(data.path()).await.unwrap(), data));
    *running = Arc::downgrade(&shared);
    shared
}

/// An app of the test handler, and what that handler reports.
struct App {
    root: TestDir,
    options: HostOptions,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Every line that the host or the handler printed.
    lines: mpsc::UnboundedReceiver<String>,
    azurite: Option<Arc<Shared>>,
}

/// A request as the handler saw it.
#[derive(Debug, Deserialize)]
struct Report {
    pid: u32,
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl App {
    /// Three HTTP functions: `echo/{id}` and `Patient/$export` echo, `stream` sends the body back while it arrives.
    async fn new() -> Self {
        let root = TestDir::new();
        root.write("handler.js", include_str!("handler.js"));
        let (port, reports) = listen().await;
        let settings = BTreeMap::from([("TEST_EVENTS_PORT".to_owned(), port.to_string())]);
        let (sender, lines) = mpsc::unbounded_channel();
        let mut options = HostOptions::new(root.path(), settings);
        options.logs = Logs::To(Arc::new(move |from, line| drop(sender.send(format!("{from}: {line}")))));
        let app = Self { root, options, reports, lines, azurite: None };
        app.host_json(json!({}));
        app.http("Echo", "echo/{id}", &["get", "post"]);
        app.http("ExportPatient", "Patient/$export", &["get"]);
        app.http("Stream", "stream", &["post"]);
        app.http("Hang", "hang", &["get"]);
        app
    }

    /// With `Worker` on a queue of its own and `Poison` on that queue's poison queue.
    async fn with_queue() -> Self {
        let mut app = Self::new().await;
        let queue = format!("steps-{}", Uuid::new_v4());
        for (name, queue) in [("Worker", "%QUEUE%"), ("Poison", "%QUEUE%-poison")] {
            let binding = json!({"type": "queueTrigger", "direction": "in", "name": "step", "queueName": queue,
                "connection": CONNECTION});
            app.root.write(&format!("{name}/function.json"), &json!({"bindings": [binding]}).to_string());
        }
        app.set("QUEUE", &queue);
        let azurite = app.azurite.insert(azurite().await).0.connection_string();
        app.set(CONNECTION, &azurite);
        app.queue().create(None).await.unwrap();
        app
    }

    fn http(&self, name: &str, route: &str, methods: &[&str]) {
        let bindings = json!({"bindings": [
            {"type": "httpTrigger", "direction": "in", "name": "req", "route": route, "methods": methods},
            {"type": "http", "direction": "out", "name": "res"}]});
        self.root.write(&format!("{name}/function.json"), &bindings.to_string());
    }

    /// Both HTTP flags on, as in the product; queues that retry at once and give up after two deliveries.
    fn host_json(&self, more: Value) {
        let mut json = json!({
            "version": "2.0",
            "customHandler": {
                "description": {"defaultExecutablePath": "node", "arguments": ["handler.js"]},
                "enableProxyingHttpRequest": true,
                "enableForwardingHttpRequest": true
            },
            "extensions": {
                "http": {"routePrefix": ""},
                "queues": {"batchSize": 8, "newBatchThreshold": 0, "maxDequeueCount": 2,
                    "visibilityTimeout": "00:00:00", "maxPollingInterval": "00:00:00.2"}
            }
        });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.root.write("host.json", &json.to_string());
    }

    fn set(&mut self, name: &str, value: &str) {
        self.options.settings.insert(name.to_owned(), value.to_owned());
    }

    async fn start(&self) -> Host {
        timeout(PATIENCE, Host::start(self.options.clone())).await.unwrap().unwrap()
    }

    /// The next request that the handler reports.
    async fn report(&mut self) -> Report {
        timeout(PATIENCE, self.reports.recv()).await.expect("the handler should have been called").unwrap()
    }

    /// Waits for a line of the log that ends so.
    async fn logged(&mut self, ending: &str) {
        let found = async { while !self.lines.recv().await.unwrap().ends_with(ending) {} };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no line ended with {ending:?}"));
    }

    fn no_report(&mut self) {
        assert!(self.reports.try_recv().is_err());
    }

    fn queue(&self) -> QueueClient {
        queue_access::open(&self.options.settings[CONNECTION], &self.options.settings["QUEUE"]).unwrap()
    }

    fn poison_queue(&self) -> QueueClient {
        let name = format!("{}-poison", self.options.settings["QUEUE"]);
        queue_access::open(&self.options.settings[CONNECTION], &name).unwrap()
    }

    async fn send(&self, text: &str) {
        self.send_raw(&BASE64_STANDARD.encode(text)).await;
    }

    async fn send_raw(&self, text: &str) {
        let message = QueueMessage { message_text: Some(text.to_owned()) };
        self.queue().send_message(message.try_into().unwrap(), None).await.unwrap();
    }

    /// Hidden messages count as well.
    async fn messages_left(&self) -> i64 {
        let properties = self.queue().get_properties(None).await.unwrap();
        properties.approximate_messages_count().unwrap().unwrap()
    }
}

impl Report {
    fn payload(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The message text, out of both of its encodings.
    fn text(&self) -> String {
        serde_json::from_str(self.payload()["Data"]["step"].as_str().unwrap()).unwrap()
    }

    fn dequeue_count(&self) -> String {
        self.payload()["Metadata"]["DequeueCount"].as_str().unwrap().to_owned()
    }
}

/// Where the handlers connect to and report, one JSON line for each request.
async fn listen() -> (u16, mpsc::UnboundedReceiver<Report>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stream).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let _ = sender.send(serde_json::from_str(&line).unwrap());
                }
            });
        }
    });
    (port, receiver)
}

/// Whether a process of this id is still there.
fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn kill_9(pid: u32) {
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}
