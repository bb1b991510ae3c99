//! The quoting rule: values put into the text of a shell command reach the command unchanged.
//!
//! The literal parts are scanned by a lexer that knows as much of the POSIX shell as is needed to say where a value
//! lands: bare, in `'…'`, in `"…"`, or in one of the places where quoting depends on more than the text before it
//! (`$( )`, `${ }`, backticks, comments, here-documents). In the latter only values of the safe set are let in. Where
//! the text itself can be read in two ways by two shells, the lexer gives up and lets only safe
//! values in from there on. Plain values give the very text the user typed.

#[cfg(test)]
mod tests;

/// A stretch of a command's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Written by the user, and read by the shell.
    Text(&'a str),
    /// A value: one word, or a part of one.
    Word(&'a str),
    /// A list of values: one word per element.
    Words(&'a [String]),
}

/// What reads the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `sh`, `bash`, `dash`, `ash`, `ksh`: the rules of POSIX.
    Posix,
    /// Anything else: only values of the safe set.
    Other,
}

/// Why a value cannot be put where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unquotable {
    /// A list between quotes would be one word.
    #[error("a list between quotes would become one word")]
    ListInQuotes,
    /// No argument of a command can hold it.
    #[error("a command's words cannot hold the character NUL")]
    Nul,
    /// The value has characters outside the safe set, here.
    #[error("inside {0} only letters, digits and `_./:=@%+,-` can be inserted")]
    Unsafe(Place),
    /// `$#{x}`: the shell would read the value as a variable's name.
    #[error("behind `$` this value would become the name of a shell variable")]
    AfterDollar,
    /// `\#{x}` with a value that needs quotes.
    #[error("the backslash before it would escape the value's quote")]
    AfterBackslash,
    /// The value ends the here-document it stands in.
    #[error("this value would end the here-document")]
    EndsHereDocument,
}

/// Places where only safe values may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Place {
    /// `$(…)`.
    #[error("`$( )`")]
    Substitution,
    /// `${…}`.
    #[error("`${{ }}`")]
    Parameter,
    /// `` `…` ``.
    #[error("backticks")]
    Backticks,
    /// `# …`.
    #[error("a comment")]
    Comment,
    /// `<<END`.
    #[error("a here-document")]
    HereDocument,
    /// `$'…'`.
    #[error("`$' '`")]
    DollarQuote,
    /// Behind `>&` and `<&`, where bash expands a word that is not a number twice.
    #[error("a word behind `>&`")]
    Duplication,
    /// Behind text that shells read differently.
    #[error("text that shells read in different ways")]
    Unclear,
    /// A command of a shell that is not POSIX's.
    #[error("a command for a shell that is not POSIX's")]
    OtherShell,
}

/// The command's text, or the index of the piece that cannot be put where it stands.
pub fn quote(pieces: &[Piece<'_>], dialect: Dialect) -> Result<String, (usize, Unquotable)> {
    let mut lexer = Lexer::new(dialect);
    for (idx, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => lexer.text(text),
            Piece::Word(value) => lexer.insert(value).map_err(|why| (idx, why))?,
            Piece::Words(values) => lexer.insert_list(values).map_err(|why| (idx, why))?,
        }
    }
    lexer.finish()
}

/// Whether every character of `value` means only itself to every shell.
pub fn is_safe(value: &str) -> bool {
    value.chars().all(|c| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c))
}

/// `value` as one shell word: as it is when it is safe and not empty, else in single quotes.
pub fn single_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// What the lexer is inside of; the bottom of the stack is bare text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    Single,
    Double,
    /// `$( … )`: brackets still open.
    Substitution(u32),
    /// `$(( … ))`: brackets still open, two at the start.
    Arithmetic(u32),
    Backticks,
    /// `${ … }`, between double quotes or not.
    Parameter {
        quoted: bool,
    },
    DollarQuote,
    Comment,
    HereDocument,
}

/// A here-document that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct HereDocument {
    end: String,
    strip_tabs: bool,
    /// The end word was quoted: its lines are not read by the shell.
    verbatim: bool,
}

/// How far the announcement `<<-'END'` of a here-document is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Announcement {
    /// So many `<`.
    Arrows(u32),
    /// `<<` or `<<-`, before the word.
    Blank(HereDocument),
    /// In the word; the quote it is in.
    Word(HereDocument, Option<char>),
}

struct Lexer {
    out: String,
    stack: Vec<Context>,
    /// Set when the rest cannot be understood for sure.
    opaque: Option<Place>,
    /// The last character was an unescaped backslash.
    escape: bool,
    /// A newline behind this backslash would join what may only be read as a whole.
    fragile: bool,
    /// The last character was an unescaped `$`.
    dollar: bool,
    /// The last characters are `$name`.
    in_name: bool,
    /// The word so far has a bare `{`, which bash may expand.
    brace: bool,
    /// The word that follows or goes on belongs to `>&` or `<&`.
    duplicates: bool,
    /// Start in `out` of the current bare word; `None` between words.
    word: Option<usize>,
    /// Start in `out` of an inserted word of digits that ends at the end of `out`.
    digits: Option<usize>,
    announcement: Option<Announcement>,
    pending: std::collections::VecDeque<HereDocument>,
    /// Current line of a here-document, and the last piece inserted into it.
    line: String,
    inserted: Option<usize>,
    piece: usize,
    failure: Option<(usize, Unquotable)>,
}

impl Lexer {
    fn new(dialect: Dialect) -> Lexer {
        Lexer {
            out: String::new(),
            stack: Vec::new(),
            opaque: (dialect == Dialect::Other).then_some(Place::OtherShell),
            escape: false,
            fragile: false,
            dollar: false,
            in_name: false,
            brace: false,
            duplicates: false,
            word: None,
            digits: None,
            announcement: None,
            pending: std::collections::VecDeque::new(),
            line: String::new(),
            inserted: None,
            piece: 0,
            failure: None,
        }
    }

    fn text(&mut self, text: &str) {
        for c in text.chars() {
            if let Some(start) = self.digits.take()
                && matches!(c, '<' | '>')
            {
                // `echo #{n}>file`: a bare number before `>` would be a file descriptor.
                self.out.insert(start, '\'');
                self.out.push('\'');
            }
            self.feed(c);
        }
        self.piece += 1;
    }

    fn insert_list(&mut self, values: &[String]) -> Result<(), Unquotable> {
        if matches!(self.stack.last(), Some(Context::Single | Context::Double | Context::DollarQuote)) {
            return Err(Unquotable::ListInQuotes);
        }
        for (idx, value) in values.iter().enumerate() {
            if idx > 0 {
                self.feed(' ');
            }
            self.insert(value)?;
            self.piece -= 1;
        }
        self.piece += 1;
        Ok(())
    }

    fn insert(&mut self, value: &str) -> Result<(), Unquotable> {
        if value.contains('\0') {
            return Err(Unquotable::Nul);
        }
        self.digits = None;
        self.inserted = Some(self.piece);
        let starts_name = value.is_empty() || value.starts_with(is_name_char);
        if let Some(place) = self.restriction() {
            let mid_word = !matches!(
                self.stack.last(),
                None | Some(Context::Substitution(_) | Context::Arithmetic(_) | Context::Backticks)
            );
            if !is_safe(value) || (value.is_empty() && !mid_word) {
                return Err(Unquotable::Unsafe(place));
            }
            let literal = matches!(self.stack.last(), Some(Context::Single | Context::Comment));
            if !literal && (self.dollar || (self.in_name && starts_name)) {
                return Err(Unquotable::AfterDollar);
            }
            self.feed_all(value);
        } else if self.stack.last() == Some(&Context::Single) {
            self.feed_all(&value.replace('\'', r"'\''"));
        } else {
            if self.dollar {
                return Err(Unquotable::AfterDollar);
            }
            let breaks_escape = self.escape && (!is_safe(value) || value.is_empty());
            if breaks_escape {
                return Err(Unquotable::AfterBackslash);
            }
            let joins_name = self.in_name && starts_name;
            if self.stack.last() == Some(&Context::Double) {
                // `"$name#{x}"`: closing and opening the quotes again ends the name.
                self.feed_all(if joins_name { "\"\"" } else { "" });
                let mut escaped = String::with_capacity(value.len());
                for c in value.chars() {
                    if matches!(c, '$' | '`' | '"' | '\\') {
                        escaped.push('\\');
                    }
                    escaped.push(c);
                }
                self.feed_all(&escaped);
            } else {
                let expands = self.brace && (value.contains(',') || value.contains(".."));
                if is_safe(value) && !value.is_empty() && !joins_name && !expands {
                    let starts_word = self.word.is_none();
                    let start = self.out.len();
                    self.feed_all(value);
                    let number = starts_word && value.bytes().all(|byte| byte.is_ascii_digit());
                    self.digits = number.then_some(start);
                } else {
                    self.feed_all(&single_quoted(value));
                }
            }
        }
        self.piece += 1;
        Ok(())
    }

    /// The place that lets only safe values in, if the lexer is in one.
    fn restriction(&self) -> Option<Place> {
        let inner = self.stack.iter().find_map(|context| match context {
            Context::Single | Context::Double => None,
            Context::Substitution(_) | Context::Arithmetic(_) => Some(Place::Substitution),
            Context::Backticks => Some(Place::Backticks),
            Context::Parameter { .. } => Some(Place::Parameter),
            Context::DollarQuote => Some(Place::DollarQuote),
            Context::Comment => Some(Place::Comment),
            Context::HereDocument => Some(Place::HereDocument),
        });
        let announcing = matches!(self.announcement, Some(Announcement::Blank(_) | Announcement::Word(..)))
            || self.announcement == Some(Announcement::Arrows(2));
        let place = self.opaque.or(inner).or(announcing.then_some(Place::HereDocument));
        place.or(self.duplicates.then_some(Place::Duplication))
    }

    fn finish(mut self) -> Result<String, (usize, Unquotable)> {
        if self.stack.last() == Some(&Context::HereDocument) {
            // The last line of the text may be the end word, too.
            self.end_line();
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.out),
        }
    }

    fn feed_all(&mut self, text: &str) {
        for c in text.chars() {
            self.feed(c);
        }
    }

    /// Takes one character of the final text.
    fn feed(&mut self, c: char) {
        let at = self.out.len();
        self.out.push(c);
        if self.opaque.is_some() {
            self.track_dollar(c);
            return;
        }
        match self.stack.last().copied() {
            Some(Context::Single) => {
                if c == '\'' {
                    self.stack.pop();
                }
            }
            Some(Context::DollarQuote) => match c {
                // `\'` ends the quotes in one shell and not in another.
                '\\' => self.opaque = Some(Place::Unclear),
                '\'' => drop(self.stack.pop()),
                _ => {}
            },
            Some(Context::Comment) => {
                if c == '\n' {
                    self.stack.pop();
                    self.newline();
                }
            }
            Some(Context::HereDocument) => {
                self.track_dollar(c);
                if c == '\n' {
                    self.end_line();
                } else {
                    self.line.push(c);
                }
            }
            Some(Context::Backticks) => {
                if !self.take_escape(c) {
                    if c == '`' {
                        self.stack.pop();
                    }
                    self.track_dollar(c);
                }
            }
            Some(Context::Double) => {
                if !self.take_escape(c) {
                    self.quoted(c);
                }
            }
            Some(Context::Parameter { quoted }) => {
                if !self.take_escape(c) {
                    self.parameter(c, quoted);
                }
            }
            Some(Context::Arithmetic(open)) => {
                self.track_dollar(c);
                match c {
                    '(' => self.replace_top(Context::Arithmetic(open + 1)),
                    ')' if open == 1 => drop(self.stack.pop()),
                    ')' => self.replace_top(Context::Arithmetic(open - 1)),
                    '\'' | '"' | '`' | '\\' => self.opaque = Some(Place::Unclear),
                    _ => {}
                }
            }
            None | Some(Context::Substitution(_)) => self.bare(c, at),
        }
    }

    /// Bare text, at the bottom or in `$( )`.
    fn bare(&mut self, c: char, at: usize) {
        if c == '\\' && !self.escape {
            let in_substitution = matches!(self.stack.last(), Some(Context::Substitution(_)));
            self.escape(
                self.announcement.is_some()
                    || self.out[..at].ends_with(['<', '>', '&', '('])
                    || (in_substitution && self.word.is_some()),
            );
            if self.announcement.is_some() {
                self.announce(c);
            }
            return;
        }
        if self.escape {
            self.take_escape(c);
            if c != '\n' {
                self.word.get_or_insert(at - 1);
            }
            return;
        }
        if self.announcement.is_some() && self.announce(c) {
            return;
        }
        let dollar = self.dollar;
        match c {
            '(' if dollar => {
                self.dollar = false;
                self.stack.push(Context::Substitution(1));
                self.word = None;
                return;
            }
            '(' if matches!(self.stack.last(), Some(Context::Substitution(1)))
                && self.out.ends_with("$((") =>
            {
                self.replace_top(Context::Arithmetic(2));
                return;
            }
            '{' if dollar => {
                self.dollar = false;
                self.stack.push(Context::Parameter { quoted: false });
                return;
            }
            '[' if dollar => self.opaque = Some(Place::Unclear),
            '\'' if dollar => {
                self.dollar = false;
                self.stack.push(Context::DollarQuote);
                return;
            }
            _ => {}
        }
        self.track_dollar(c);
        if is_separator(c) {
            self.end_word(at);
            self.duplicates |= c == '&' && self.out[..at].ends_with(['<', '>']);
        }
        match c {
            '\'' => self.stack.push(Context::Single),
            '"' => self.stack.push(Context::Double),
            '`' => self.stack.push(Context::Backticks),
            '{' => self.brace = true,
            '#' if self.word.is_none() => {
                self.stack.push(Context::Comment);
                return;
            }
            '<' => self.announcement = Some(Announcement::Arrows(1)),
            '\n' => self.newline(),
            '(' => self.change_brackets(1),
            ')' => self.change_brackets(-1),
            _ => {}
        }
        if !is_separator(c) {
            self.word.get_or_insert(at);
        }
    }

    /// Text between double quotes.
    fn quoted(&mut self, c: char) {
        if c == '\\' {
            return self.escape(false);
        }
        let dollar = self.dollar;
        self.track_dollar(c);
        match c {
            '"' => drop(self.stack.pop()),
            '`' => self.stack.push(Context::Backticks),
            '(' if dollar => {
                self.stack.push(Context::Substitution(1));
                self.word = None;
            }
            '{' if dollar => self.stack.push(Context::Parameter { quoted: true }),
            '[' if dollar => self.opaque = Some(Place::Unclear),
            _ => {}
        }
    }

    /// Text in `${ }`.
    fn parameter(&mut self, c: char, quoted: bool) {
        if c == '\\' {
            return self.escape(false);
        }
        let dollar = self.dollar;
        self.track_dollar(c);
        match c {
            '}' => drop(self.stack.pop()),
            '`' => self.stack.push(Context::Backticks),
            '(' if dollar => {
                self.stack.push(Context::Substitution(1));
                self.word = None;
            }
            '{' if dollar => self.stack.push(Context::Parameter { quoted }),
            // Quotes in `"${x:-'…'}"` are quotes to some shells only.
            '\'' | '"' if quoted => self.opaque = Some(Place::Unclear),
            '\'' => self.stack.push(Context::Single),
            '"' => self.stack.push(Context::Double),
            _ => {}
        }
    }

    /// The end of a bare word; `at` is behind its last byte.
    fn end_word(&mut self, at: usize) {
        let word = self.word.take();
        self.duplicates &= word.is_none();
        if let Some(start) = word
            && matches!(self.stack.last(), Some(Context::Substitution(_)))
            && &self.out[start..at] == "case"
        {
            // The `)` of a pattern would be taken for the end of `$( )`.
            self.opaque = Some(Place::Unclear);
        }
        self.brace = false;
    }

    fn change_brackets(&mut self, by: i32) {
        if let Some(Context::Substitution(open)) = self.stack.last().copied() {
            match open.saturating_add_signed(by) {
                0 => {
                    self.stack.pop();
                    // What follows `$(…)` belongs to the word it stands in.
                    self.word = Some(self.out.len());
                }
                open => self.replace_top(Context::Substitution(open)),
            }
        }
    }

    /// Reads on in `<<-'END'`; true when the character belongs to it.
    fn announce(&mut self, c: char) -> bool {
        self.announcement = match self.announcement.take() {
            Some(Announcement::Arrows(1)) if c == '<' => Some(Announcement::Arrows(2)),
            // `<<<` is a here-string: a word follows.
            Some(Announcement::Arrows(2)) if c == '<' => None,
            Some(Announcement::Arrows(2)) if c == '-' => {
                Some(Announcement::Blank(HereDocument { strip_tabs: true, ..HereDocument::default() }))
            }
            Some(Announcement::Arrows(2)) => {
                self.announcement = Some(Announcement::Blank(HereDocument::default()));
                return self.announce(c);
            }
            Some(Announcement::Blank(doc)) if matches!(c, ' ' | '\t') => Some(Announcement::Blank(doc)),
            Some(Announcement::Blank(doc)) => {
                self.announcement = Some(Announcement::Word(doc, None));
                return self.announce(c);
            }
            Some(Announcement::Word(mut doc, None)) => match c {
                '\'' | '"' => {
                    doc.verbatim = true;
                    Some(Announcement::Word(doc, Some(c)))
                }
                '\\' | '$' | '`' => {
                    self.opaque = Some(Place::Unclear);
                    None
                }
                c if is_separator(c) => {
                    self.pending.push_back(doc);
                    return false;
                }
                c => {
                    doc.end.push(c);
                    Some(Announcement::Word(doc, None))
                }
            },
            Some(Announcement::Word(doc, Some(quote))) if c == quote => Some(Announcement::Word(doc, None)),
            Some(Announcement::Word(mut doc, quote)) => {
                doc.end.push(c);
                Some(Announcement::Word(doc, quote))
            }
            Some(Announcement::Arrows(_)) | None => return false,
        };
        true
    }

    /// A newline between commands: announced here-documents start.
    fn newline(&mut self) {
        self.word = None;
        if !self.pending.is_empty() {
            self.line.clear();
            self.inserted = None;
            self.stack.push(Context::HereDocument);
        }
    }

    /// The end of a line of a here-document.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let inserted = self.inserted.take();
        let Some(doc) = self.pending.front() else { return };
        let content = if doc.strip_tabs { line.trim_start_matches('\t') } else { &line };
        if content == doc.end {
            if let Some(piece) = inserted {
                self.failure.get_or_insert((piece, Unquotable::EndsHereDocument));
            }
            self.pending.pop_front();
            if self.pending.is_empty() {
                self.stack.pop();
                self.word = None;
            }
        } else if !doc.verbatim && line.ends_with('\\') {
            // The next line belongs to this one, so that it cannot be the end word.
            self.opaque = Some(Place::Unclear);
        }
    }

    /// A backslash. `fragile`: see there.
    fn escape(&mut self, fragile: bool) {
        self.escape = true;
        self.fragile = fragile || self.dollar || self.in_name;
        self.dollar = false;
        self.in_name = false;
    }

    /// Whether `c` is escaped by the backslash before it. A backslash and a newline are nothing at all to the shell.
    fn take_escape(&mut self, c: char) -> bool {
        if !self.escape && c == '\\' && self.stack.last() == Some(&Context::Backticks) {
            self.escape(false);
            return true;
        }
        if self.escape && c == '\n' && self.fragile {
            self.opaque = Some(Place::Unclear);
        }
        std::mem::take(&mut self.escape)
    }

    fn track_dollar(&mut self, c: char) {
        if self.dollar {
            self.dollar = false;
            self.in_name = c.is_ascii_alphabetic() || c == '_';
            return;
        }
        self.in_name = self.in_name && is_name_char(c);
        self.dollar = c == '$';
    }

    fn replace_top(&mut self, context: Context) {
        if let Some(top) = self.stack.last_mut() {
            *top = context;
        }
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Characters that end a bare word.
fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>')
}
