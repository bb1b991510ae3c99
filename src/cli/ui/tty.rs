//! Live progress on a terminal: running steps with their last lines of output, finished ones collapsed to a line.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::SystemTime;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Display;
use super::ended::EndedSteps;
use super::model::{Model, State, Step, duration, size};
use crate::engine::event::Event;

/// Lines of output shown below a running step.
const LOG_LINES: usize = 6;
/// Columns and rows, when the terminal does not say how large it is.
const FALLBACK_SIZE: (usize, usize) = (80, 24);

const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";
/// Between these a terminal shows nothing, so that a frame appears at once ("synchronized output", DEC mode 2026).
const BEGIN_FRAME: &str = "\x1b[?2026h\x1b[?25l";
const END_FRAME: &str = "\x1b[?25h\x1b[?2026l";

/// The display: what was drawn last is drawn over by the next frame.
pub(super) struct Tty {
    model: Model,
    ended: EndedSteps,
    started: SystemTime,
    /// Widths in columns of the lines on the screen, which the next frame replaces.
    drawn: Vec<usize>,
    color: bool,
}

/// What is said of a step that failed, where others have their time.
const FAILED: &str = "ERROR";

/// A line of the display, at most as wide as the terminal.
struct Line {
    text: String,
    /// Its colour; empty: the terminal's own.
    code: &'static str,
}

impl Tty {
    pub(super) fn new() -> Tty {
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Tty {
            model: Model::default(),
            ended: EndedSteps::default(),
            started: SystemTime::now(),
            drawn: Vec::new(),
            color,
        }
    }

    fn line(&self, code: &'static str, text: String) -> Line {
        Line { text, code: if self.color { code } else { "" } }
    }

    /// ` => label      1.2s`, cut to the width.
    fn step_line(&self, code: &'static str, label: &str, time: &str, width: usize) -> Line {
        let room = width.saturating_sub(time.len() + 6);
        let label = cut(label, room);
        let gap = room.saturating_sub(label.width());
        self.line(code, cut(&format!(" => {label}{} {time}", " ".repeat(gap)), width))
    }

    /// A running step with at most `n_logs` lines of output.
    fn running(&self, step: &Step, now: SystemTime, n_logs: usize, width: usize) -> Vec<Line> {
        let mut block = vec![self.step_line("", &label(step), &duration(step.elapsed(now)), width)];
        let logs = step.last_lines(n_logs);
        block.extend(logs.iter().map(|line| self.line(DIM, cut(&format!(" => => # {line}"), width))));
        block
    }

    /// What to show, at most `height` lines: running steps always, then as many of the latest finished ones as fit.
    fn lines(&self, width: usize, height: usize) -> impl Iterator<Item = Line> + '_ {
        let now = SystemTime::now();
        let elapsed = now.duration_since(self.started).unwrap_or_default();
        let n_steps = self.model.n_steps();
        let n_finished = n_steps - self.model.steps.len();
        let head = format!("[+] Building {} ({n_finished}/{n_steps})", duration(elapsed));
        let room = height.saturating_sub(1);
        let n_running = self.model.steps.len().min(room);
        let n_logs = (room - n_running).checked_div(n_running.max(1)).unwrap_or(0).min(LOG_LINES);
        let mut running: BTreeMap<u32, Vec<Line>> = BTreeMap::new();
        let mut left = room;
        for (&number, step) in self.model.steps.iter().take(n_running) {
            let block = self.running(step, now, n_logs, width);
            left = left.saturating_sub(block.len());
            running.insert(number, block);
        }
        let mut numbers: Vec<u32> = running.keys().copied().chain(self.ended.latest().take(left)).collect();
        numbers.sort_unstable();
        let block = move |number: u32| running.remove(&number).or_else(|| self.finished(number, width));
        std::iter::once(self.line("", cut(&head, width)))
            .chain(numbers.into_iter().filter_map(block).flatten())
    }

    fn finished(&self, number: u32, width: usize) -> Option<Vec<Line>> {
        let (time, label) = self.ended.get(number)?;
        let code = if time == FAILED { RED } else { BLUE };
        Some(vec![self.step_line(code, label, time, width)])
    }

    /// Draws `n_lines` at most over what was drawn before.
    fn draw(
        &mut self,
        n_lines: usize,
        (width, height): (usize, usize),
        out: &mut dyn Write,
    ) -> io::Result<()> {
        write!(out, "{BEGIN_FRAME}")?;
        // A terminal that was made narrower has folded the lines that no longer fit.
        let drawn = std::mem::take(&mut self.drawn);
        let n_rows: usize = drawn.iter().map(|drawn| drawn.div_ceil(width).max(1)).sum();
        if 0 < n_rows {
            write!(out, "\x1b[{}A\r", n_rows.min(height.saturating_sub(1).max(1)))?;
        }
        let mut drawn = Vec::new();
        // One after the other: in the end that is every step.
        for Line { text, code } in self.lines(width, n_lines) {
            drawn.push(text.width());
            let reset = if code.is_empty() { "" } else { RESET };
            // Cleared before it is written: behind a full line the cursor stands on its last character.
            writeln!(out, "\x1b[K{code}{text}{reset}")?;
        }
        write!(out, "\x1b[J{END_FRAME}")?;
        self.drawn = drawn;
        out.flush()
    }
}

impl Display for Tty {
    fn event(&mut self, event: &Event, _out: &mut dyn Write) -> io::Result<()> {
        let number = self.model.update(event);
        match event {
            Event::Started { .. } => self.ended.remove(number),
            Event::Completed { .. } | Event::Cached { .. } => {
                if let Some(step) = self.model.shown(number) {
                    let time = match &step.state {
                        State::Cached => "CACHED".to_owned(),
                        State::Failed(_) => FAILED.to_owned(),
                        State::Running | State::Done => duration(step.elapsed(SystemTime::now())),
                    };
                    self.ended.put(number, &time, &label(&step));
                }
            }
            Event::Log { .. } | Event::Progress { .. } | Event::Warning { .. } => {}
        }
        Ok(())
    }

    fn frame(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.model.n_steps() == 0 {
            return Ok(());
        }
        let (width, height) = size_or_fallback();
        // The last row stays free: writing a newline there would scroll what the next frame must draw over.
        self.draw(height.saturating_sub(2).max(2), (width, height), out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.model.n_steps() == 0 {
            return Ok(());
        }
        // What stays on the screen is every step, however many there are; the report that follows a failure shows its
        // output.
        self.draw(self.model.n_steps() + 1, size_or_fallback(), out)
    }
}

/// The name of a step, and how much it moved.
fn label(step: &Step) -> String {
    match step.n_moved() {
        0 => step.name.to_string(),
        moved => format!("{} {}", step.name, size(moved)),
    }
}

fn size_or_fallback() -> (usize, usize) {
    super::terminal_size().unwrap_or(FALLBACK_SIZE)
}

/// What fits into `width` columns, with an ellipsis when some was left out. Wide characters take two columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = width.saturating_sub(1);
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if left < columns {
            break;
        }
        left -= columns;
        out.push(c);
    }
    if 0 < width {
        out.push('…');
    }
    out
}
