//! Live progress on a terminal: running steps with their last lines of output, finished ones collapsed to a line.

use std::io::{self, Write};
use std::time::SystemTime;

use super::Display;
use super::model::{Model, State, Step, duration, size};
use crate::engine::event::Event;

/// Lines of output shown below a running step.
const LOG_LINES: usize = 6;
/// When the terminal does not say how large it is.
const FALLBACK_SIZE: (u16, u16) = (80, 24);

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
    /// Lines on the screen that the next frame replaces.
    n_drawn: usize,
    color: bool,
}

impl Tty {
    pub(super) fn new() -> Tty {
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Tty { model: Model::default(), started: SystemTime::now(), n_drawn: 0, color }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("{code}{text}{RESET}") } else { text.to_owned() }
    }

    /// ` => name      1.2s`, cut to the width.
    fn step_line(&self, step: &Step, now: SystemTime, width: usize) -> String {
        let time = match step.state {
            State::Cached => "CACHED".to_owned(),
            State::Failed(_) => "ERROR".to_owned(),
            State::Running | State::Done => duration(step.elapsed(now)),
        };
        let moved: u64 = step.transfers.iter().map(|(_, current, _)| current).sum();
        let name = if moved == 0 { step.name.clone() } else { format!("{} {}", step.name, size(moved)) };
        let room = width.saturating_sub(time.len() + 6);
        let name = cut(&name, room);
        let gap = room.saturating_sub(name.chars().count());
        let line = format!(" => {name}{} {time}", " ".repeat(gap));
        match step.state {
            State::Failed(_) => self.paint(RED, &line),
            State::Done | State::Cached => self.paint(BLUE, &line),
            State::Running => line,
        }
    }

    /// What to show, at most `height` lines: running steps always, then as many of the latest finished ones as fit.
    fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let now = SystemTime::now();
        let elapsed = now.duration_since(self.started).unwrap_or_default();
        let n_steps = self.model.steps.len();
        let head = format!("[+] Building {} ({}/{n_steps})", duration(elapsed), self.model.n_finished());
        let running: Vec<&Step> =
            self.model.steps.iter().filter(|step| step.state == State::Running).collect();
        let room = height.saturating_sub(1);
        let n_running = running.len().min(room);
        let n_logs = (room - n_running).checked_div(n_running.max(1)).unwrap_or(0).min(LOG_LINES);
        let mut shown: Vec<(usize, Vec<String>)> = Vec::new();
        let mut left = room;
        for step in running.into_iter().take(n_running) {
            let mut block = vec![self.step_line(step, now, width)];
            let logs = step.last_lines(n_logs);
            block.extend(logs.iter().map(|line| self.paint(DIM, &cut(&format!(" => => # {line}"), width))));
            left = left.saturating_sub(block.len());
            shown.push((step.number, block));
        }
        for step in self.model.steps.iter().rev().filter(|step| step.state != State::Running).take(left) {
            shown.push((step.number, vec![self.step_line(step, now, width)]));
        }
        shown.sort_by_key(|(number, _)| *number);
        std::iter::once(head).chain(shown.into_iter().flat_map(|(_, block)| block)).collect()
    }

    fn draw(&mut self, lines: &[String], out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{BEGIN_FRAME}")?;
        if 0 < self.n_drawn {
            write!(out, "\x1b[{}A\r", self.n_drawn)?;
        }
        for line in lines {
            writeln!(out, "{line}\x1b[K")?;
        }
        write!(out, "\x1b[J{END_FRAME}")?;
        self.n_drawn = lines.len();
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
        let (width, height) = crossterm::terminal::size().unwrap_or(FALLBACK_SIZE);
        // The last row stays free: writing a newline there would scroll what the next frame must draw over.
        let lines = self.lines(usize::from(width), usize::from(height).saturating_sub(2).max(2));
        self.draw(&lines, out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.model.steps.is_empty() {
            return Ok(());
        }
        let (width, _) = crossterm::terminal::size().unwrap_or(FALLBACK_SIZE);
        // What stays on the screen is every step, however many there are; the report that follows a failure shows its
        // output.
        let lines = self.lines(usize::from(width), self.model.steps.len() + 1);
        self.draw(&lines, out)
    }
}

/// The first `width` characters, with an ellipsis when some were left out.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
