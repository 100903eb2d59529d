//! The world around the handler, in memory, single-threaded and deterministic: five ports, a clock, random numbers.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fhir_export::bulk::asked::Version;
use fhir_export::bulk::authority::Authorization;
use fhir_export::bulk::coding::Coding;
use fhir_export::bulk::limits::Limits;
use fhir_export::bulk::policy::{CallerPolicy, Named};
use fhir_export::bulk::release::Release;
use fhir_export::bulk::request::Terms;
use fhir_export::bulk::secret::{SealingKey, SealingKeys};
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::memory::Memory;
use fhir_export::functions::{App, Delivery, LostRange, Settings};
use fhir_export::ports::{ErrorKind, PortError};

use super::audit::AuditTrail;
use super::blobs::Blobs;
use super::container::Container;
use super::gate::{Call, Fault, Gate, refused};
use super::issuers::Servers;
use super::queue::Queue;
use super::store::Store;

/// Everything outside of the handler. Clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

pub struct State {
    pub now: Timestamp,
    pub gate: Gate,
    pub store: Store,
    pub container: Container,
    pub blobs: Blobs,
    pub queue: Queue,
    pub servers: Servers,
    pub audit: AuditTrail,
    random: u64,
}

pub const PUBLIC_URL: &str = "https://export.example";

impl World {
    pub fn new() -> Self {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        Self(Arc::new(Mutex::new(State {
            now,
            gate: Gate::default(),
            store: Store::default(),
            container: Container::default(),
            blobs: Blobs::default(),
            queue: Queue::default(),
            servers: Servers::default(),
            audit: AuditTrail::default(),
            random: 0,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    /// One call of a port: what the script has for it, and else `effect`.
    ///
    /// Every call first gives the word back to the driver, so that workers interleave at any call.
    pub async fn call<T>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut State) -> Result<T, PortError> + Send,
    ) -> Result<T, PortError> {
        give_way().await;
        let name = call.name;
        let fault = self.admit(call);
        while self.holds() {
            give_way().await;
        }
        let answer = match fault {
            Some(Fault::Refuse(kind)) => Err(refused(kind, name)),
            Some(Fault::KillBefore) => return self.die().await,
            Some(Fault::KillAfter) => {
                let _unheard = effect(&mut self.state());
                return self.die().await;
            }
            None | Some(Fault::LoseAnswer | Fault::Repeat | Fault::Hold | Fault::ReadOld(_)) => {
                effect(&mut self.state())
            }
        };
        match fault {
            Some(Fault::LoseAnswer) => Err(refused(ErrorKind::Unavailable, name)),
            Some(Fault::Repeat) if answer.is_ok() && ["jobs.create", "jobs.replace"].contains(&name) => {
                Err(refused(ErrorKind::Conflict, name))
            }
            _ => answer,
        }
    }

    fn admit(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        let fault = state.gate.admit(call);
        state.container.lag = if let Some(Fault::ReadOld(lag)) = fault { lag } else { 0 };
        let worker = state.gate.worker;
        if fault == Some(Fault::Hold) {
            state.gate.hold(worker);
        }
        fault
    }

    fn holds(&self) -> bool {
        let state = self.state();
        state.gate.is_held(state.gate.worker)
    }

    /// The worker that makes this call does nothing any more.
    async fn die<T>(&self) -> T {
        {
            let mut state = self.state();
            let worker = state.gate.worker;
            state.gate.kill(worker);
        }
        pending().await
    }

    pub fn app(&self, settings: Settings) -> App {
        let (clock, random) = (self.clone(), self.clone());
        let memory = Arc::new(Memory::new(&settings.limits));
        App {
            resources: Arc::new(self.clone()),
            jobs: Arc::new(self.clone()),
            outputs: Arc::new(self.clone()),
            steps: Arc::new(self.clone()),
            issuers: Arc::new(self.clone()),
            probes: Arc::new(self.clone()),
            audit: Arc::new(self.clone()),
            settings: Arc::new(settings),
            memory,
            clock: Arc::new(move || clock.now()),
            random: Arc::new(move || random.state().random()),
            polls: Arc::default(),
            denied: Arc::default(),
            health: Arc::default(),
            issuers_known: Arc::default(),
            members_known: Arc::default(),
            gathered_known: Arc::default(),
        }
    }
}

impl State {
    /// As unlike each other as random numbers, and the same in every run.
    fn random(&mut self) -> u128 {
        self.random += 1;
        u128::from(mixed(self.random)) << 64 | u128::from(mixed(!self.random))
    }
}

/// A well-known mixing function (splitmix64): neighbours become strangers.
pub fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Lets the driver choose who goes on.
async fn give_way() {
    let mut given = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A key that seals secrets: as unlike that of another number as can be.
pub fn sealing_key(number: u8) -> SealingKey {
    SealingKey::parse(&STANDARD.encode([number; 32])).unwrap()
}

/// Settings under which small data already makes blocks, rolls and checkpoints.
pub fn small() -> Settings {
    Settings {
        authorization: Authorization::Keys,
        terms: Terms {
            release: Release::R4,
            public_url: PUBLIC_URL.parse().unwrap(),
            callers: CallerPolicy { named: Named::Any, ..CallerPolicy::default() },
            default_destination: true,
            version: Version::V3,
            least_file: 100,
            coding: Coding::None,
            prefer_required: false,
        },
        sealing_keys: Some(SealingKeys::new(sealing_key(1), Vec::new())),
        limits: Limits {
            checkpoint_bytes: 1200,
            file_bytes: 700,
            block_bytes: 300,
            buffered_bytes: 500,
            log_bytes: 48,
            gathered_keys: 24,
            gatherings: 1000,
            pages: 1000,
            // Nothing waits here but between the deliveries of messages.
            page_patience: Duration::ZERO,
            chunks: 4,
            ..Limits::default()
        },
        safety_lag: Duration::from_secs(120),
        delivery: Delivery::Sas,
        link_lifetime: Duration::from_secs(60 * 60),
        retention: Duration::from_secs(7 * 24 * 60 * 60),
        lost_range: LostRange::Fail,
        ceiling: None,
        patience: Duration::from_secs(24 * 60 * 60),
        default_account: Some("exports".into()),
        most_active: 10,
        small_group: 0,
    }
}
