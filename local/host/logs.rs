//! Where the lines go that the handler processes and the stand-in itself print.

use std::collections::VecDeque;
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, PoisonError};

/// Enough of a dead process's output to say why it died.
const KEPT_LINES: usize = 20;

/// What to do with each line.
#[derive(Clone, Default)]
pub enum Logs {
    #[default]
    Quiet,
    /// To stderr, behind the name of the process.
    Print,
    /// For tests.
    #[cfg(test)]
    To(Sink),
}

/// Hears the name of the process and the line, one call at a time for each stream.
#[cfg(test)]
pub type Sink = Arc<dyn Fn(&str, &str) + Send + Sync>;

impl Debug for Logs {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quiet => "Quiet",
            Self::Print => "Print",
            #[cfg(test)]
            Self::To(_) => "To",
        })
    }
}

impl Logs {
    /// A line of the stand-in itself.
    pub fn host(&self, line: &str) {
        self.line("host", line);
    }

    pub fn line(&self, from: &str, line: &str) {
        match self {
            Self::Quiet => {}
            Self::Print => eprintln!("[{from}] {line}"),
            #[cfg(test)]
            Self::To(sink) => sink(from, line),
        }
    }
}

/// The last lines of one process, always kept, so that an error can show them.
#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    pub fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    pub fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("\n  {line}")).collect()
    }
}
