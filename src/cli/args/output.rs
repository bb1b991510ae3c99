//! How progress, lists and errors are shown.

use std::ffi::OsStr;
use std::marker::PhantomData;

use clap::ValueEnum;
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};

/// How errors are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// One line each
    Short,
    /// A JSON array, for tools
    Json,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    #[default]
    /// tty on a terminal, plain elsewhere
    Auto,
    /// Live and collapsed
    Tty,
    /// Every line of every step
    Plain,
    /// BuildKit's status messages as JSON lines
    Rawjson,
    /// Nothing but errors
    Quiet,
}

/// Reads a `T`; the empty text, as of `BUILDKIT_PROGRESS=`, is its default.
#[derive(Debug)]
pub(crate) struct OrDefault<T>(PhantomData<fn() -> T>);

/// The parser of `T`.
pub(crate) fn or_default<T>() -> OrDefault<T> {
    OrDefault(PhantomData)
}

impl<T> Clone for OrDefault<T> {
    fn clone(&self) -> OrDefault<T> {
        or_default()
    }
}

impl<T: ValueEnum + Default + Clone + Send + Sync + 'static> TypedValueParser for OrDefault<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        if value.is_empty() {
            return Ok(T::default());
        }
        EnumValueParser::<T>::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(T::value_variants().iter().filter_map(T::to_possible_value)))
    }
}
