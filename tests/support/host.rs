//! The Functions host around the handler: requests, queue deliveries and ticks, driven one port call at a time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::Settings;
use fhir_export::host::filter;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::gate::{Fault, When, WorkerId};
use super::queue::{Message, Place, Receipt, Rules};
use super::world::World;

/// What the handler answered.
pub type Answer = warp::http::Response<bytes::Bytes>;

/// One host with one handler, over a world.
pub struct Host {
    pub world: World,
    filter: BoxedFilter<(Response,)>,
    rules: Rules,
    started: WorkerId,
    /// What runs now, in the order in which it was started.
    pub running: Vec<Invocation>,
    last_tick: Timestamp,
}

/// A call of the handler that has not been answered.
pub struct Invocation {
    pub worker: WorkerId,
    started: Timestamp,
    future: Pin<Box<dyn Future<Output = Answer> + Send>>,
    /// The delivery that it is about.
    receipt: Option<Receipt>,
}

impl Invocation {
    /// The message that it is about.
    pub fn message(&self) -> Option<u32> {
        self.receipt.map(|receipt| receipt.message)
    }
}

/// How an invocation went on.
#[derive(Debug)]
pub enum Progress {
    Running,
    /// It stands still until it is let go.
    Held,
    Answered(Answer),
    /// The worker died; there is no answer.
    Killed,
}

/// How often the watch ticks (design §5).
const TICK: Duration = Duration::from_secs(30);

impl Host {
    pub fn new(world: &World, settings: Settings) -> Self {
        Self::with_app(world, filter(Some(world.app(settings))).boxed())
    }

    /// A host whose app has the feature switched off.
    pub fn switched_off(world: &World) -> Self {
        Self::with_app(world, filter(None).boxed())
    }

    fn with_app(world: &World, filter: BoxedFilter<(Response,)>) -> Self {
        let last_tick = world.now();
        Self { world: world.clone(), filter, rules: Rules::of_host_json(), started: 0, running: Vec::new(), last_tick }
    }

    /// Sends a request and waits for its answer.
    pub fn request(&mut self, method: &'static str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let worker = self.start_request(method, path, headers);
        match self.run(worker) {
            Progress::Answered(answer) => answer,
            other => panic!("{method} {path} was not answered: {other:?}"),
        }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, &[])
    }

    /// Sends a request with a body of known length, and waits for its answer.
    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = warp::test::request().method("POST").path(path).body(body);
        request = request.header("content-length", body.len());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request)
    }

    /// Sends any request, and waits for its answer.
    pub fn answer(&mut self, request: warp::test::RequestBuilder) -> Answer {
        let worker = self.start(request, None);
        match self.run(worker) {
            Progress::Answered(answer) => answer,
            other => panic!("the request was not answered: {other:?}"),
        }
    }

    pub fn delete(&mut self, path: &str) -> Answer {
        self.request("DELETE", path, &[])
    }

    pub fn start_request(&mut self, method: &'static str, path: &str, headers: &[(&str, &str)]) -> WorkerId {
        let mut request = warp::test::request().method(method).path(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.start(request, None)
    }

    /// Delivers a message to its function, unless it was delivered too often already.
    pub fn start_delivery(&mut self, message: u32) -> Option<WorkerId> {
        let now = self.world.now();
        let (message, receipt) = self.world.state().queue.receive(message, now, &self.rules)?;
        let function = match message.at {
            Place::Steps => "/ExportWorker",
            Place::Poison => "/ExportPoison",
        };
        let request = warp::test::request().method("POST").path(function).body(envelope(&message).to_string());
        Some(self.start(request, Some(receipt)))
    }

    pub fn start_tick(&mut self) -> WorkerId {
        let data = json!({ "timer": { "Schedule": { "AdjustForDST": true }, "IsPastDue": false } });
        let body = json!({ "Data": data, "Metadata": { "sys": { "MethodName": "ExportWatch" } } });
        self.last_tick = self.world.now();
        self.start(warp::test::request().method("POST").path("/ExportWatch").body(body.to_string()), None)
    }

    fn start(&mut self, request: warp::test::RequestBuilder, receipt: Option<Receipt>) -> WorkerId {
        let filter = self.filter.clone();
        let worker = self.started;
        self.started += 1;
        let future = Box::pin(async move { request.reply(&filter).await });
        self.running.push(Invocation { worker, started: self.world.now(), future, receipt });
        worker
    }

    /// Lets a worker go on to its next port call, or to its end.
    pub fn advance(&mut self, worker: WorkerId) -> Progress {
        self.kill_overdue();
        let Some(index) = self.running.iter().position(|invocation| invocation.worker == worker) else {
            return Progress::Killed;
        };
        self.world.state().gate.worker = worker;
        let polled = self.running[index].future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let answer = match polled {
            Poll::Pending if self.world.state().gate.is_held(worker) => return Progress::Held,
            Poll::Pending if !self.world.state().gate.is_killed(worker) => return Progress::Running,
            Poll::Pending => None,
            Poll::Ready(answer) => Some(answer),
        };
        let invocation = self.running.remove(index);
        let Some(answer) = answer else { return Progress::Killed };
        self.end(&invocation, &answer);
        Progress::Answered(answer)
    }

    /// Lets a worker go on to its end.
    pub fn run(&mut self, worker: WorkerId) -> Progress {
        loop {
            match self.advance(worker) {
                Progress::Running => {}
                ended => return ended,
            }
        }
    }

    /// A worker that was held goes on to its end.
    pub fn let_go(&mut self, worker: WorkerId) -> Progress {
        self.world.state().gate.let_go(worker);
        self.run(worker)
    }

    /// A worker that was held makes so many calls, and waits for its next turn.
    pub fn let_make(&mut self, worker: WorkerId, calls: u32) {
        self.world.state().gate.let_go(worker);
        (0..calls).for_each(|_| drop(self.advance(worker)));
    }

    /// The worker dies where it is. Its message stays hidden until its time is up.
    pub fn kill(&mut self, worker: WorkerId) {
        self.running.retain(|invocation| invocation.worker != worker);
    }

    /// A function that runs for too long is killed, with its process.
    fn kill_overdue(&mut self) {
        let now = self.world.now();
        self.running.retain(|invocation| now.since(invocation.started) < self.rules.function_timeout);
    }

    /// What the host makes of an answer: only success deletes the message.
    fn end(&mut self, invocation: &Invocation, answer: &Answer) {
        let Some(receipt) = invocation.receipt else { return };
        let is_object = serde_json::from_slice::<Value>(answer.body()).is_ok_and(|body| body.is_object());
        assert!(is_object, "a queue invocation must be answered with a JSON object");
        let now = self.world.now();
        let queue = &mut self.world.state().queue;
        if answer.status().is_success() { queue.delete(receipt) } else { queue.release(receipt, now, &self.rules) }
    }

    /// Delivers the oldest message that is visible, to its end.
    pub fn deliver(&mut self) -> Option<Progress> {
        let now = self.world.now();
        let first = *self.world.state().queue.visible(now).first()?;
        let worker = self.start_delivery(first)?;
        Some(self.run(worker))
    }

    pub fn tick(&mut self) -> Progress {
        let worker = self.start_tick();
        self.run(worker)
    }

    /// Time goes by, and running functions keep their messages hidden if it is not too much at once.
    pub fn wait(&mut self, time: Duration) {
        let mut state = self.world.state();
        state.now = state.now.plus(time);
        let now = state.now;
        drop(state);
        self.kill_overdue();
        let mut state = self.world.state();
        for receipt in self.running.iter().filter_map(|invocation| invocation.receipt) {
            state.queue.renew(receipt, now);
        }
    }

    /// The next thing that happens by itself: a delivery if one can be made, else time goes by up to the next message or
    /// tick.
    pub fn go_on(&mut self) {
        if self.deliver().is_some() {
            return;
        }
        let now = self.world.now();
        let next = self.world.state().queue.next_visible().filter(|next| *next > now);
        let tick = self.last_tick.plus(TICK);
        match next {
            Some(next) if next < tick => self.wait(next.since(now)),
            _ => {
                self.wait(tick.since(now));
                self.tick();
            }
        }
    }

    /// Goes on until `done`, for as long as two days of the world's time.
    pub fn go_on_until(&mut self, mut done: impl FnMut(&World) -> bool) -> Result<(), String> {
        let end = self.world.now().plus(Duration::from_secs(2 * 24 * 60 * 60));
        while !done(&self.world) {
            if self.world.now() > end {
                return Err("nothing comes to an end".into());
            }
            self.go_on();
        }
        Ok(())
    }
}

impl Host {
    /// The next call of this name, about something whose name holds `what`, goes wrong.
    pub fn break_next(&mut self, name: &'static str, what: &'static str, fault: Fault) {
        self.world.state().gate.script.push((When::Next(name, what), fault));
    }

    /// The next message is delivered, up to the first call of this name: its worker stands still there.
    pub fn deliver_up_to(&mut self, name: &'static str, what: &'static str) -> WorkerId {
        self.break_next(name, what, Fault::Hold);
        let worker = self.started;
        match self.deliver() {
            Some(Progress::Held) => worker,
            other => panic!("the step did not come to {name} {what}: {other:?}"),
        }
    }
}

/// A queue message as the host posts it: the text is encoded as JSON once more, and its properties leak into the
/// metadata, over what the host knows itself.
pub fn envelope(message: &Message) -> Value {
    let quoted = |text: &str| Value::from(Value::from(text).to_string());
    let mut metadata = json!({
        "DequeueCount": message.dequeues.to_string(),
        "ExpirationTime": message.inserted.whole_seconds(),
        "Id": quoted(&message.id.to_string()),
        "InsertionTime": message.inserted.whole_seconds(),
        "NextVisibleTime": message.visible.whole_seconds(),
        "PopReceipt": quoted("MThG"),
        "sys": { "MethodName": "ExportWorker", "RandGuid": "7e855b8b-0000-0000-0000-000000000000" },
    });
    if let Ok(Value::Object(leaking)) = serde_json::from_str(&message.text) {
        for (name, value) in leaking {
            metadata[name] = match value {
                Value::Object(object) => Value::Object(object),
                Value::String(text) => quoted(&text),
                other => quoted(&other.to_string()),
            };
        }
    }
    json!({ "Data": { "step": quoted(&message.text) }, "Metadata": metadata })
}
