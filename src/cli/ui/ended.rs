//! Steps that ended, as a terminal still shows them: their text and no more, for there may be a hundred thousand.

/// How much of a label is kept: no terminal is that wide.
const MAX_COLUMNS: usize = 1024;
/// Where there is no line.
const NONE: u32 = u32::MAX;

/// A line for each step that ended.
#[derive(Debug, Default)]
pub(super) struct EndedSteps {
    /// `time, tab, label, newline` of each, in the order in which they ended.
    text: String,
    /// Where the line of a step begins, by its number.
    begins: Vec<u32>,
}

impl EndedSteps {
    /// A step ended; neither text has a tab or a newline.
    pub(super) fn put(&mut self, number: u32, time: &str, label: &str) {
        let begin = u32::try_from(self.text.len()).unwrap_or(NONE);
        self.set(number, begin);
        if begin != NONE {
            let label = super::tty::cut(label, MAX_COLUMNS);
            self.text.extend([time, "\t", &label, "\n"]);
        }
    }

    /// A step runs, maybe again.
    pub(super) fn remove(&mut self, number: u32) {
        self.set(number, NONE);
    }

    /// Time and label of a step.
    pub(super) fn get(&self, number: u32) -> Option<(&str, &str)> {
        let begin = *self.begins.get(number as usize)?;
        // `NONE` is behind all texts.
        let line = self.text.get(begin as usize..)?.split('\n').next()?;
        line.split_once('\t')
    }

    /// The numbers of all, the last one first.
    pub(super) fn latest(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.begins.len() as u32).rev().filter(|&number| self.begins[number as usize] != NONE)
    }

    fn set(&mut self, number: u32, begin: u32) {
        let n_begins = self.begins.len().max(number as usize + 1);
        self.begins.resize(n_begins, NONE);
        self.begins[number as usize] = begin;
    }
}
