//! Faults by rule: what befalls some of the requests to an emulator; and how often each operation was called.
//!
//! Rules are set on the emulator's own port, under paths that no client uses:
//!
//! ```text
//! PUT /_rules     [{"on":"Query","path":"/fhirR4/","do":{"throttle":{"retryAfterMs":50}},"every":3,"times":20}]
//! GET /_rules     the rules, each with the number of requests it met and of those it struck
//! DELETE /_rules  no rules any more
//! GET /_calls     {"Query":17,…}: requests by operation, those struck included
//! ```

mod control;
mod rule;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use rule::Rule;

/// The rules of one emulator, and its counts.
pub struct Faults {
    /// The names of all operations that it knows.
    operations: &'static [&'static str],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Active>,
    calls: BTreeMap<&'static str, u64>,
}

/// A rule at work.
struct Active {
    rule: Rule,
    met: u64,
    struck: u64,
}

/// What is to be done to one request, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// Waiting before it takes effect.
    pub delay: Duration,
    pub fault: Option<Fault>,
    /// Waiting before it is answered.
    pub delay_answer: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No effect; the service's own answer to too many requests.
    Throttle { retry_after_ms: u64 },
    /// No effect; this status.
    Refuse { status: u16 },
    /// No effect and no answer.
    LoseRequest,
    /// It takes effect, and there is no answer.
    LoseAnswer,
    /// One bit of the request's body changes on its way.
    CorruptRequest,
    /// One bit of the answer's body changes on its way.
    CorruptAnswer,
}

impl Faults {
    pub fn new(operations: &'static [&'static str]) -> Self {
        Self { operations, state: Mutex::default() }
    }

    /// Replaces all rules. An operation that does not exist is an error: its rule would never strike.
    pub fn set(&self, rules: Vec<Rule>) -> Result<(), String> {
        if let Some(unknown) =
            rules.iter().filter_map(|rule| rule.on.as_deref()).find(|on| !self.operations.contains(on))
        {
            return Err(format!("there is no operation {unknown}, only {}", self.operations.join(", ")));
        }
        self.state().rules = rules.into_iter().map(|rule| Active { rule, met: 0, struck: 0 }).collect();
        Ok(())
    }

    /// Counts a request and finds what befalls it: all delays that apply, and the first other fault.
    pub fn meet(&self, operation: &'static str, path: &str) -> Treatment {
        let mut state = self.state();
        *state.calls.entry(operation).or_default() += 1;
        let mut treatment = Treatment::default();
        for active in &mut state.rules {
            if active.rule.concerns(operation, path) && active.strikes() {
                active.rule.effect.add_to(&mut treatment);
            }
        }
        treatment
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Active {
    /// Whether the rule strikes the request that it has just met.
    fn strikes(&mut self) -> bool {
        self.met += 1;
        let turn = self.met > self.rule.skip && (self.met - self.rule.skip - 1).is_multiple_of(self.rule.every.max(1));
        let strikes = turn && self.rule.times.is_none_or(|times| self.struck < times);
        self.struck += u64::from(strikes);
        strikes
    }
}

/// Changes one bit in the middle; an empty body has none.
pub fn corrupted(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    let middle = body.len() / 2;
    if let Some(byte) = body.get_mut(middle) {
        *byte ^= 1;
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &str) -> Faults {
        let faults = Faults::new(&["PutBlock", "GetBlob"]);
        faults.set(serde_json::from_str(rules).unwrap()).unwrap();
        faults
    }

    #[test]
    fn a_rule_strikes_its_operation_and_path_at_its_turns() {
        let faults = faults(r#"[{"on":"PutBlock","path":"/keys-","do":"loseAnswer","skip":1,"every":2,"times":2}]"#);
        assert_eq!(faults.meet("GetBlob", "/a/keys-1").fault, None);
        assert_eq!(faults.meet("PutBlock", "/a/other").fault, None);
        let struck: Vec<_> = (0..7).map(|_| faults.meet("PutBlock", "/a/keys-1").fault.is_some()).collect();
        assert_eq!(struck, [false, true, false, true, false, false, false]);
        assert_eq!(faults.state().calls, BTreeMap::from([("GetBlob", 1), ("PutBlock", 8)]));
    }

    #[test]
    fn delays_add_up_and_the_first_fault_counts() {
        let rules = r#"[{"do":{"delay":{"ms":5}}}, {"do":{"delay":{"ms":2}}}, {"do":{"delayAnswer":{"ms":1}}},
            {"do":{"throttle":{"retryAfterMs":9}},"times":1}, {"do":{"refuse":{"status":500}}}]"#;
        let faults = faults(rules);
        let ms = Duration::from_millis;
        let first = Treatment { delay: ms(7), fault: Some(Fault::Throttle { retry_after_ms: 9 }), delay_answer: ms(1) };
        assert_eq!(faults.meet("GetBlob", "/"), first);
        assert_eq!(faults.meet("GetBlob", "/").fault, Some(Fault::Refuse { status: 500 }));
        faults.set(Vec::new()).unwrap();
        assert_eq!(faults.meet("GetBlob", "/"), Treatment::default());
    }

    #[test]
    fn a_rule_that_could_never_strike_is_refused() {
        let faults = faults("[]");
        let rule = |json: &str| serde_json::from_str::<Vec<Rule>>(json);
        assert!(faults.set(rule(r#"[{"on":"PutBlok","do":"loseAnswer"}]"#).unwrap()).unwrap_err().contains("PutBlock"));
        assert!(rule(r#"[{"onn":"PutBlock","do":"loseAnswer"}]"#).is_err());
        assert!(rule(r#"[{"do":"explode"}]"#).is_err());
    }

    #[test]
    fn corruption_changes_exactly_one_bit() {
        let changed = corrupted(b"hello");
        let bits: u32 = changed.iter().zip(b"hello").map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((changed.len(), bits), (5, 1));
        assert!(corrupted(b"").is_empty());
    }
}
