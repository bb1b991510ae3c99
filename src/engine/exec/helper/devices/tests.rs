//! Both forms of the list say the same.

use super::*;

#[test]
fn rules_of_version_1() {
    let node = |kind, reads, writes| NewNode {
        path: "x".into(),
        kind,
        major: 7,
        minor: 300,
        mode: 0o666,
        uid: None,
        gid: None,
        reads,
        writes,
    };
    let more = [node(NodeKind::Block, true, false), node(NodeKind::Character, true, true)];
    assert_eq!(rules(&more)[2 + ALLOWED.len()..], ["b 7:300 rm", "c 7:300 rwm"]);
    check_jumps(&program(&more));
    let rules = rules(&[]);
    assert_eq!(rules[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
    assert_eq!(rules.last().map(String::as_str), Some("c 136:* rwm"));
    assert_eq!(rules.len(), 2 + ALLOWED.len());
    assert!(!rules.iter().any(|it| it.starts_with("b ") && it.contains('w')), "no disk can be opened");
}

#[test]
fn the_program_returns_on_every_path() {
    check_jumps(&program(&[]));
}

fn check_jumps(program: &[Instruction]) {
    assert_eq!(program.last().map(|it| it.code), Some(EXIT));
    for (index, it) in program.iter().enumerate() {
        if [JUMP_EQUAL, JUMP_UNEQUAL].contains(&it.code) {
            assert!(index + 1 + (it.offset as usize) < program.len(), "a jump out of it at {index}");
        }
    }
}
