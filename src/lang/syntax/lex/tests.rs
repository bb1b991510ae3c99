//! Words in their places, and what is open.

use super::{Kind, Opened, lex, opened};

/// The kinds of the stretches of `text`, one letter each.
#[track_caller]
fn check(text: &str, kinds: &str) {
    let letter = |kind: Kind| match kind {
        Kind::Keyword => 'k',
        Kind::Constant => 'c',
        Kind::Name => 'n',
        Kind::Number => '1',
        Kind::Comment => '/',
        Kind::Doc => 'd',
        Kind::Text => 't',
        Kind::Escape => 'e',
        Kind::Insert => '#',
        Kind::Open => '(',
        Kind::Close => ')',
        Kind::Sign => '+',
    };
    let found: String = lex(text).iter().map(|lexeme| letter(lexeme.kind)).collect();
    assert_eq!(found, kinds, "{text}");
}

#[test]
fn words_are_keywords_where_they_are() {
    check("let target = 1", "kn+1");
    check("target let_it = target", "kn+n");
    check("import from from \"x\"", "knkt");
    check("pub fn test(in: int) -> int { x.on }", "kkn(n+n)+n(n+n)");
    check("test \"x\" { assert none == true }", "kt(kc+c)");
    check("fold acc = 0 for x in xs { some(fold) }", "kn+1knkn(k(n))");
    check("[...none]", "(+c)");
}

#[test]
fn texts_hold_values_and_escapes() {
    check(r#""a\n#{f("x", {})}b""#, "te#n(t+())#t");
    check(r##"r"\n#{x}" """ \n#{x} """"##, "tt#n#t");
    check("\"open\nlet a = 1", "tkn+1");
    check("/// doc\n//// rule\n//! module", "d//");
}

#[test]
fn what_is_open_is_known() {
    assert_eq!(opened("f(["), [Opened::Bracket(b'('), Opened::Bracket(b'[')]);
    assert_eq!(opened("\"a #{x("), [Opened::Insert("\""), Opened::Bracket(b'(')]);
    assert_eq!(opened("\"\"\"a"), [Opened::Text("\"\"\"")]);
    assert_eq!(opened("f(\"a\")"), []);
}

#[test]
fn nothing_is_too_strange() {
    for text in ["\\", "\"\\", "#{", "}}}", "r\"", "\"#{\"#{", "🦀\"🦀\\🦀", "\u{FEFF}let", "\"\\u{", "'"]
    {
        let lexemes = lex(text);
        assert!(lexemes.windows(2).all(|pair| pair[0].end <= pair[1].start), "{text}");
        assert!(lexemes.iter().all(|it| text.get(it.start as usize..it.end as usize).is_some()), "{text}");
    }
}
