//! A real browser: Chromium without a window, driven by the WebDriver protocol, which is plain HTTP.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::folder::Folder;
use super::http::until;
use super::processes::signal_group;

/// One window. Whatever happens, the browser ends with it.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    downloads: Folder,
    driver: Child,
    /// Kept open: whatever the driver prints later must not break it.
    _said: BufReader<ChildStdout>,
}

/// The driver, what it prints, and its port. It takes a port that is free for IPv6 and ends if the same one is not free for
/// IPv4, as it may not be where many servers run: then it is started again.
fn driver() -> (Child, BufReader<ChildStdout>, String) {
    let mut last = String::new();
    for _ in 0..STARTS {
        let mut command = Command::new("chromedriver");
        let command = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut driver = command.spawn().unwrap_or_else(|error| {
            panic!("chromedriver does not start ({error}); the pages are tested with it: apt-get install chromium chromium-driver")
        });
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let mut line = String::new();
        while said.read_line(&mut line).unwrap() > 0 {
            if let Some((_, port)) = line.split_once("successfully on port ") {
                let port = port.trim().trim_end_matches('.').to_owned();
                return (driver, said, port);
            }
            last = std::mem::take(&mut line);
        }
        driver.wait().unwrap();
    }
    panic!("chromedriver has ended {STARTS} times: {last}");
}

/// So often a port is not free for the driver by mere chance.
const STARTS: u32 = 10;

/// The width of a screen, in pixels, and what its user prefers.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub width: u32,
    pub scheme: &'static str,
}

/// A desk and a phone, by day and by night.
pub const SCREENS: [Screen; 4] = [
    Screen { width: 1280, scheme: "light" },
    Screen { width: 1280, scheme: "dark" },
    Screen { width: 390, scheme: "light" },
    Screen { width: 390, scheme: "dark" },
];

impl Browser {
    pub async fn start() -> Self {
        let (driver, said, port) = driver();
        let downloads = Folder::new();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        // The sandbox needs rights that containers of CI do not give.
        let options = json!({ "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
        let capabilities = json!({ "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } });
        let mut browser =
            Self { http, session: format!("http://127.0.0.1:{port}/session"), downloads, driver, _said: said };
        let session = browser.post("", json!({ "capabilities": capabilities })).await;
        browser.session = format!("{}/{}", browser.session, session["sessionId"].as_str().unwrap());
        let into = json!({ "behavior": "allow", "downloadPath": browser.downloads.path() });
        browser.tell("Browser.setDownloadBehavior", into).await;
        browser
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.session)).body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert!(status.is_success(), "{path} {body}: {answer}");
        answer["value"].clone()
    }

    /// A command of Chromium's own protocol.
    async fn tell(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// What an expression is on the page.
    pub async fn see(&self, expression: &str) -> Value {
        self.post("/execute/sync", json!({ "script": format!("return {expression}"), "args": [] })).await
    }

    /// The text of the first element of this selector.
    pub async fn text(&self, selector: &str) -> String {
        let text = self.see(&format!("document.querySelector({selector:?})?.textContent ?? ''")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks as a person would: what cannot be seen or reached cannot be clicked.
    pub async fn click(&self, selector: &str) {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        let element = found.as_object().and_then(|element| element.values().next()).and_then(Value::as_str).unwrap();
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    pub async fn look_from(&self, screen: Screen) {
        let Screen { width, scheme } = screen;
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.tell("Emulation.setDeviceMetricsOverride", metrics).await;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.tell("Emulation.setEmulatedMedia", media).await;
    }

    /// Keeps pictures of the page on every screen. On none of them anything is cut off.
    pub async fn take_pictures(&self, name: &str) {
        for screen in SCREENS {
            self.look_from(screen).await;
            let width = self.see("document.documentElement.scrollWidth").await;
            assert!(width.as_u64().unwrap() <= screen.width.into(), "{name} is {width} wide on {screen:?}");
            let page = json!({ "cmd": "Page.captureScreenshot", "params": { "captureBeyondViewport": true } });
            let picture = self.post("/goog/cdp/execute", page).await;
            let picture = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
            let file = pictures().join(format!("{name}-{}-{}.png", screen.width, screen.scheme));
            fs::write(&file, picture).unwrap();
        }
    }

    /// The bytes of the next download, once it is complete.
    pub async fn downloaded(&self) -> Vec<u8> {
        until("a file is downloaded", async || {
            let files: Vec<PathBuf> =
                fs::read_dir(self.downloads.path()).unwrap().map(|file| file.unwrap().path()).collect();
            let [file] = &files[..] else { return None };
            file.extension().is_some_and(|extension| extension == "ndjson").then(|| fs::read(file).unwrap())
        })
        .await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        signal_group(self.driver.id(), "TERM");
        let _ = self.driver.wait();
    }
}

/// Where pictures are kept, for people to look at.
fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures");
    fs::create_dir_all(&folder).unwrap();
    folder
}
