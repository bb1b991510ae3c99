//! Plain progress: every line of every step, in BuildKit's shape (`#4 0.123 text`), for logs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::SystemTime;

use super::Display;
use super::model::{Model, State, duration, printable, size};
use crate::engine::event::{Event, Seam, Stream};

/// The display and what it has printed so far.
#[derive(Default)]
pub(super) struct Plain {
    model: Model,
    /// The step printed last: another one is set apart by a blank line and its name.
    last: Option<u32>,
    /// Where the output of steps stands.
    output: BTreeMap<u32, Output>,
    /// Whether the name of a step was printed, by its number.
    named: Vec<bool>,
}

/// The end of a step's output.
#[derive(Default)]
struct Output {
    /// The last line, as far as it came.
    unfinished: Vec<u8>,
    seam: Seam,
}

impl Plain {
    /// Makes `number` the step that is being printed.
    fn turn_to(&mut self, number: u32, out: &mut dyn Write) -> io::Result<()> {
        self.named.resize(self.model.n_steps() + 1, false);
        if self.last == Some(number) {
            return Ok(());
        }
        if self.last.is_some() {
            writeln!(out)?;
        }
        self.last = Some(number);
        let is_named = std::mem::replace(&mut self.named[number as usize], true);
        match self.model.steps.get(&number) {
            Some(step) if !is_named => writeln!(out, "#{number} {}", step.name),
            _ => writeln!(out, "#{number} ..."),
        }
    }

    fn line(&self, number: u32, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let elapsed = self.model.steps.get(&number).map(|step| step.elapsed(SystemTime::now()));
        let seconds = elapsed.unwrap_or_default().as_secs_f64();
        write!(out, "#{number} {seconds:.3} ")?;
        out.write_all(line)?;
        writeln!(out)
    }

    /// Prints the lines that `bytes` finish.
    fn output(&mut self, number: u32, stream: Stream, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let mut output = self.output.remove(&number).unwrap_or_default();
        let (ends, mut rest) = output.seam.join(stream, bytes);
        if ends {
            self.line(number, &std::mem::take(&mut output.unfinished), out)?;
        }
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            // What was not finished before is looked at once, when it is.
            output.unfinished.extend_from_slice(&rest[..end]);
            let line = output.unfinished.strip_suffix(b"\r").unwrap_or(&output.unfinished);
            self.line(number, line, out)?;
            output.unfinished.clear();
            rest = &rest[end + 1..];
        }
        output.unfinished.extend_from_slice(rest);
        self.output.insert(number, output);
        Ok(())
    }

    /// Prints the last, unfinished line of a step that writes no more.
    fn last_line(&mut self, number: u32, out: &mut dyn Write) -> io::Result<()> {
        match self.output.remove(&number) {
            Some(Output { unfinished, .. }) if !unfinished.is_empty() => self.line(number, &unfinished, out),
            _ => Ok(()),
        }
    }
}

impl Display for Plain {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        let number = self.model.update(event);
        match event {
            Event::Started { .. } => self.turn_to(number, out)?,
            Event::Log { stream, bytes, .. } => {
                self.turn_to(number, out)?;
                self.output(number, *stream, bytes, out)?;
            }
            Event::Progress { current, total: Some(total), id, .. } if current == total => {
                self.turn_to(number, out)?;
                writeln!(out, "#{number} {id} {} done", size(*total))?;
            }
            Event::Progress { .. } => {}
            // It may be told twice, by two definitions that have the step: it ended once.
            Event::Completed { .. } | Event::Cached { .. } if self.model.steps.contains_key(&number) => {
                self.turn_to(number, out)?;
                self.last_line(number, out)?;
                let Some(step) = self.model.shown(number) else { return Ok(()) };
                match &step.state {
                    State::Cached => writeln!(out, "#{number} CACHED")?,
                    State::Failed(error) => writeln!(out, "#{number} ERROR: {error}")?,
                    State::Done | State::Running => {
                        writeln!(out, "#{number} DONE {}", duration(step.elapsed(SystemTime::now())))?;
                    }
                }
                out.flush()?;
            }
            Event::Completed { .. } | Event::Cached { .. } => {}
            Event::Warning { message, .. } => {
                self.turn_to(number, out)?;
                writeln!(out, "#{number} WARNING: {}", printable(message))?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for (number, mut output) in std::mem::take(&mut self.output) {
            if !output.unfinished.is_empty() {
                self.turn_to(number, out)?;
                self.line(number, &std::mem::take(&mut output.unfinished), out)?;
                output.seam.cut();
            }
            self.output.insert(number, output);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.settle(out)
    }
}
