//! Something behind a value that is complete: mostly operators that bkl does not have.

use super::item::closes_nothing;
use super::{Place, Slip};

pub(super) fn slip(place: &Place<'_>) -> Option<Slip> {
    let found = place.found;
    let before = place.before();
    let operator =
        |written: &str| Slip::new(format!("`{found}` is written `{written}`"), "no operator of bkl");
    Some(match found {
        "and" => operator("&&").help("write `&&`"),
        "or" => operator("||").help("write `||`"),
        "is" => operator("==").help("write `==`"),
        "#" => Slip::new("a comment starts with `//`", "not a comment of bkl"),
        ")" | "]" | "}" => closes_nothing(found),
        "=" if place.rest().starts_with("===") => operator("==").help("write `==`"),
        "=" => Slip::new("a `=` gives one name one value", "a second one")
            .help("write `==` to compare, and a `let` for each name"),
        "/" if place.rest().starts_with("/*") => {
            Slip::new("a comment starts with `//`", "not a comment of bkl")
        }
        "/" => Slip::new("bkl has no division", "no operator of bkl")
            .help("paths are joined by insertion: `\"#{dir}/#{name}\"`"),
        "%" => Slip::new("bkl has no `%`", "no operator of bkl").help("numbers have `+`, `-` and `*`"),
        "?" if place.rest().starts_with("?.") => Slip::new("bkl has no `?.`", "no operator of bkl")
            .help("open an optional value with `match x { some(v) => …, none => … }` or `x ?? …`"),
        "?" => Slip::new("a choice is written with `if`", "no operator of bkl")
            .help("write `if condition { a } else { b }`"),
        "as" => Slip::new("a value keeps its type", "no operator of bkl")
            .help("only literals take a type: annotate the `let`, or insert the value into text, `\"#{x}\"`"),
        "in" => Slip::new("`in` belongs to a `for`", "no operator of bkl").help("write `xs.contains(x)`"),
        "&" | "|" | "^" => return doubled(place),
        ":" => Slip::new("a type stands behind a name, not behind a value", "unexpected")
            .help("write `let name: type = …`"),
        "\"" if before.ends_with('"') => Slip::new("two texts stand beside each other", "the second one")
            .help("make one of them: `\"…#{value}…\"`, or a list: `[\"a\", \"b\"]`"),
        "\"" if place.last_word() == "R" => Slip::new("`R` in front of a text means nothing", "unexpected")
            .help("write `r\"…\"` for a text without escapes"),
        "\"" if matches!(place.last_word(), "f" | "s" | "b" | "u") => {
            Slip::new(format!("`{}` in front of a text means nothing", place.last_word()), "unexpected")
                .help("every text takes values: `\"…#{value}…\"`")
        }
        "{" if place.last_word().starts_with(|c: char| c.is_ascii_uppercase()) => {
            let ty = place.last_word();
            Slip::new("a record has no name in front", "unexpected")
                .help(format!("annotate what it is for: write `let x: {ty} = {{ … }}`"))
        }
        _ if place.last_word() == "not" => {
            let end = place.item + before.len();
            Slip::new("`not` is written `!`", "no operator of bkl").help("write `!`").at(end - 3, end)
        }
        _ => return None,
    })
}

/// `a & b`, `a | b`
fn doubled(place: &Place<'_>) -> Option<Slip> {
    Some(match place.found {
        "|" => Slip::new("bkl has no `|`", "no operator of bkl")
            .help("write `||` for or, `|>` to give a value to a function"),
        "&" => Slip::new("bkl has no `&`", "no operator of bkl").help("write `&&`"),
        _ => return None,
    })
}
