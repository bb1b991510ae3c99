//! Live progress on a terminal: running steps with their last lines of output, finished ones collapsed to a line.

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::time::SystemTime;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Display;
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
    started: SystemTime,
    /// Widths in columns of the lines on the screen, which the next frame replaces.
    drawn: Vec<usize>,
    color: bool,
}

/// A line of the display, at most as wide as the terminal.
struct Line {
    text: String,
    /// Its colour; empty: the terminal's own.
    code: &'static str,
}

impl Tty {
    pub(super) fn new() -> Tty {
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Tty { model: Model::default(), started: SystemTime::now(), drawn: Vec::new(), color }
    }

    fn line(&self, code: &'static str, text: String) -> Line {
        Line { text, code: if self.color { code } else { "" } }
    }

    /// ` => name      1.2s`, cut to the width.
    fn step_line(&self, step: &Step, now: SystemTime, width: usize) -> Line {
        let time = match step.state {
            State::Cached => "CACHED".to_owned(),
            State::Failed(_) => "ERROR".to_owned(),
            State::Running | State::Done => duration(step.elapsed(now)),
        };
        let moved = step.n_moved();
        let name = if moved == 0 { step.name.to_string() } else { format!("{} {}", step.name, size(moved)) };
        let room = width.saturating_sub(time.len() + 6);
        let name = cut(&name, room);
        let gap = room.saturating_sub(name.width());
        let text = cut(&format!(" => {name}{} {time}", " ".repeat(gap)), width);
        let code = match step.state {
            State::Failed(_) => RED,
            State::Done | State::Cached => BLUE,
            State::Running => "",
        };
        self.line(code, text)
    }

    /// What to show, at most `height` lines: running steps always, then as many of the latest finished ones as fit.
    fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let now = SystemTime::now();
        let elapsed = now.duration_since(self.started).unwrap_or_default();
        let n_steps = self.model.steps.len();
        let head = format!("[+] Building {} ({}/{n_steps})", duration(elapsed), self.model.n_finished());
        let running: Vec<&Step> =
            self.model.steps.iter().filter(|step| step.state == State::Running).collect();
        let room = height.saturating_sub(1);
        let n_running = running.len().min(room);
        let n_logs = (room - n_running).checked_div(n_running.max(1)).unwrap_or(0).min(LOG_LINES);
        let mut shown: Vec<(u32, Vec<Line>)> = Vec::new();
        let mut left = room;
        for step in running.into_iter().take(n_running) {
            let mut block = vec![self.step_line(step, now, width)];
            let logs = step.last_lines(n_logs);
            block.extend(logs.iter().map(|line| self.line(DIM, cut(&format!(" => => # {line}"), width))));
            left = left.saturating_sub(block.len());
            shown.push((step.number, block));
        }
        for step in self.model.steps.iter().rev().filter(|step| step.state != State::Running).take(left) {
            shown.push((step.number, vec![self.step_line(step, now, width)]));
        }
        shown.sort_by_key(|(number, _)| *number);
        std::iter::once(self.line("", cut(&head, width)))
            .chain(shown.into_iter().flat_map(|(_, block)| block))
            .collect()
    }

    fn draw(
        &mut self,
        lines: &[Line],
        (width, height): (usize, usize),
        out: &mut dyn Write,
    ) -> io::Result<()> {
        write!(out, "{BEGIN_FRAME}")?;
        // A terminal that was made narrower has folded the lines that no longer fit.
        let n_rows: usize = self.drawn.iter().map(|drawn| drawn.div_ceil(width).max(1)).sum();
        if 0 < n_rows {
            write!(out, "\x1b[{}A\r", n_rows.min(height.saturating_sub(1).max(1)))?;
        }
        for Line { text, code } in lines {
            let reset = if code.is_empty() { "" } else { RESET };
            // Cleared before it is written: behind a full line the cursor stands on its last character.
            writeln!(out, "\x1b[K{code}{text}{reset}")?;
        }
        write!(out, "\x1b[J{END_FRAME}")?;
        self.drawn = lines.iter().map(|line| line.text.width()).collect();
        out.flush()
    }
}

impl Display for Tty {
    fn event(&mut self, event: &Event, _out: &mut dyn Write) -> io::Result<()> {
        self.model.update(event);
        Ok(())
    }

    fn frame(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.model.steps.is_empty() {
            return Ok(());
        }
        let (width, height) = size_or_fallback();
        // The last row stays free: writing a newline there would scroll what the next frame must draw over.
        let lines = self.lines(width, height.saturating_sub(2).max(2));
        self.draw(&lines, (width, height), out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.model.steps.is_empty() {
            return Ok(());
        }
        let (width, height) = size_or_fallback();
        // What stays on the screen is every step, however many there are; the report that follows a failure shows its
        // output.
        let lines = self.lines(width, self.model.steps.len() + 1);
        self.draw(&lines, (width, height), out)
    }
}

fn size_or_fallback() -> (usize, usize) {
    super::terminal_size().unwrap_or(FALLBACK_SIZE)
}

/// What fits into `width` columns, with an ellipsis when some was left out. Wide characters take two columns.
fn cut(text: &str, width: usize) -> String {
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
