//! How large things are of which there are many.

use super::*;

/// What a large graph takes is these sizes and what lies behind them: a field more costs megabytes. Should one have to grow,
/// think of what is rare in it first.
#[test]
fn what_there_are_many_of_is_small() {
    fn check<T>(most: usize) {
        let (size, name) = (size_of::<T>(), std::any::type_name::<T>());
        assert!(size <= most, "a {name} has {size} bytes, more than {most}");
    }
    check::<Op>(32);
    check::<Inputs>(24);
    check::<Location>(40);
    check::<Vertex>(136);
    check::<FileActionOp>(72);
    check::<FileAction>(96);
}
