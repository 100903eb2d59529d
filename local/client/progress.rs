//! Progress on stderr: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use super::figures::Figures;

/// Where progress is shown.
pub struct Progress {
    shown: Shown,
}

enum Shown {
    Bars(MultiProgress),
    Lines,
    Nowhere,
}

impl Progress {
    /// Bars if stderr is a terminal, else lines.
    pub fn on_stderr() -> Self {
        let bars = std::io::stderr().is_terminal();
        Self { shown: if bars { Shown::Bars(MultiProgress::new()) } else { Shown::Lines } }
    }

    pub fn nowhere() -> Self {
        Self { shown: Shown::Nowhere }
    }

    /// One line, above any bars.
    pub fn say(&self, line: &str) {
        match &self.shown {
            // Nothing can be done about a terminal that does not take a line.
            Shown::Bars(bars) => drop(bars.println(line)),
            Shown::Lines => eprintln!("{line}"),
            Shown::Nowhere => {}
        }
    }

    /// The server is at work: shows what it says about it.
    pub fn waiting(&self) -> Waiting<'_> {
        let bar = self.bar(|| ProgressBar::new_spinner().with_style(style("{spinner} {elapsed} {wide_msg}")));
        if let Some(bar) = &bar {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Waiting { progress: self, bar, types: Mutex::default(), last: Mutex::default() }
    }

    /// A file is being downloaded; `size` in bytes, if the server says.
    pub fn file(&self, name: &str, size: Option<u64>) -> FileBar<'_> {
        let bar = self.bar(|| match size {
            Some(size) => {
                ProgressBar::new(size).with_style(style("{bar:25} {bytes:>11} {bytes_per_sec:>12} {wide_msg}"))
            }
            None => {
                ProgressBar::no_length().with_style(style("{spinner:25} {bytes:>11} {bytes_per_sec:>12} {wide_msg}"))
            }
        });
        if let Some(bar) = &bar {
            bar.set_message(name.to_owned());
        }
        FileBar { progress: self, bar, name: name.to_owned() }
    }

    fn bar(&self, make: impl FnOnce() -> ProgressBar) -> Option<ProgressBar> {
        match &self.shown {
            Shown::Bars(bars) => Some(bars.add(make())),
            Shown::Lines | Shown::Nowhere => None,
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are the literals above; one that is wrong falls back to the usual bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The wait for an export. Its bar goes with it.
pub struct Waiting<'a> {
    progress: &'a Progress,
    bar: Option<ProgressBar>,
    /// One for each resource type that the server tells of.
    types: Mutex<Vec<(String, ProgressBar)>>,
    last: Mutex<String>,
}

impl Waiting<'_> {
    pub fn show(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.say_if_new(text),
        }
    }

    /// How far the export is, and how much there is of each type: as much of a bar as of the type with the most.
    pub fn show_figures(&self, figures: &Figures) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(figures.told());
                self.show_types(figures);
            }
            None => {
                let types: Vec<_> = figures.types.iter().map(|of| format!("\n  {}", of.told())).collect();
                self.say_if_new(&format!("{}{}", figures.told(), types.concat()));
            }
        }
    }

    fn show_types(&self, figures: &Figures) {
        let mut bars = self.types.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let most = figures.types.iter().map(|of| of.resources).max().unwrap_or_default();
        for of in &figures.types {
            let name = of.name();
            if !bars.iter().any(|(known, _)| *known == name) {
                let made = self.progress.bar(|| ProgressBar::new(most).with_style(style("{bar:25} {wide_msg}")));
                bars.extend(made.map(|bar| (name.clone(), bar)));
            }
            if let Some((_, bar)) = bars.iter().find(|(known, _)| *known == name) {
                bar.set_length(most);
                bar.set_position(of.resources);
                bar.set_message(of.told());
            }
        }
    }

    fn say_if_new(&self, text: &str) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != text {
            self.progress.say(text);
            text.clone_into(&mut last);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for (_, bar) in self.types.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            bar.finish_and_clear();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The download of one file. Its bar goes with it.
pub struct FileBar<'a> {
    progress: &'a Progress,
    bar: Option<ProgressBar>,
    name: String,
}

impl FileBar<'_> {
    pub fn add(&self, bytes: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes as u64);
        }
    }

    pub fn done(&self, resources: u64, bytes: u64) {
        let (resources, bytes) = (HumanCount(resources), HumanBytes(bytes));
        self.progress.say(&format!("{}: {resources} resources, {bytes}", self.name));
    }
}

impl Drop for FileBar<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
