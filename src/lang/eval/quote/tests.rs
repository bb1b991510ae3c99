//! Hostile values against the shells of this machine, and the text that plain values give.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

#[track_caller]
fn check(pieces: &[Piece<'_>], expected: Result<&str, (usize, Unquotable)>) {
    assert_eq!(quote(pieces, Dialect::Posix), expected.map(str::to_owned));
}

#[test]
fn plain_values_are_the_typed_text() {
    use Piece::{Text, Word, Words};
    check(&[Text("go build -o /out/"), Word("app"), Text(" ./...")], Ok("go build -o /out/app ./..."));
    let list = ["git".to_owned(), "a b".to_owned()];
    check(&[Text("apt-get install "), Words(&list)], Ok("apt-get install git 'a b'"));
    check(&[Text("x "), Words(&[]), Text(" y")], Ok("x  y"));
    check(&[Text("echo "), Word("")], Ok("echo ''"));
    check(&[Text("echo "), Word("it's")], Ok(r"echo 'it'\''s'"));
    check(&[Text("echo \""), Word("a$b"), Text("\"")], Ok(r#"echo "a\$b""#));
    check(&[Text("echo '"), Word("a'b"), Text("'")], Ok(r"echo 'a'\''b'"));
    check(&[Text("echo "), Word("2"), Text(">f")], Ok("echo '2'>f"));
    check(&[Text("echo $a"), Word("b")], Ok("echo $a'b'"));
    check(&[Text("echo \"$a"), Word("b"), Text("\"")], Ok("echo \"$a\"\"b\""));
    check(&[Text("echo $a"), Word("/b")], Ok("echo $a/b"));
}

#[test]
fn unclear_places_take_safe_values_only() {
    use Piece::{Text, Word, Words};
    let refuse = |text: &str, place: Place| {
        check(&[Text(text), Word("a b")], Err((1, Unquotable::Unsafe(place))));
        let safe = quote(&[Text(text), Word("/a")], Dialect::Posix);
        assert_eq!(safe, Ok(format!("{text}/a")));
    };
    refuse("echo $(ls ", Place::Substitution);
    refuse("echo $(ls '", Place::Substitution);
    refuse("echo \"$(ls \"$(cat ", Place::Substitution);
    refuse("echo $((1 + ", Place::Substitution);
    refuse("echo `ls ", Place::Backticks);
    refuse("echo \"${x:-", Place::Parameter);
    refuse("true # why ", Place::Comment);
    refuse("cat <<EOF\nline ", Place::HereDocument);
    refuse("cat <<-'EOF' >x\n\tline ", Place::HereDocument);
    refuse("cat <<A <<B\nA\nline ", Place::HereDocument);
    refuse("echo $'x", Place::DollarQuote);
    refuse("echo $(case x in y) echo ", Place::Unclear);
    refuse("echo x >&", Place::Duplication);
    refuse("echo $\\\n(", Place::Unclear);
    check(&[Text("echo $"), Word("a")], Err((1, Unquotable::AfterDollar)));
    check(&[Text("echo `ls $x"), Word("a")], Err((1, Unquotable::AfterDollar)));
    check(&[Text("echo \\"), Word("a b")], Err((1, Unquotable::AfterBackslash)));
    check(&[Text("echo \""), Words(&[])], Err((1, Unquotable::ListInQuotes)));
    check(&[Text("cat <<EOF\n"), Word("EOF"), Text("\n")], Err((1, Unquotable::EndsHereDocument)));
    check(&[Text("cat <<EOF\n"), Word("EOF")], Err((1, Unquotable::EndsHereDocument)));
    check(&[Text("echo "), Word("a\0b")], Err((1, Unquotable::Nul)));
    let other = quote(&[Text("Write-Host "), Word("a b")], Dialect::Other);
    assert_eq!(other, Err((1, Unquotable::Unsafe(Place::OtherShell))));
}

#[test]
fn places_end_where_the_shell_ends_them() {
    use Piece::{Text, Word};
    let quoted = |text: &str| {
        check(&[Text(text), Word("a b")], Ok(&format!("{text}'a b'")));
    };
    quoted("echo $(ls; echo ')' \")\" \\) (x)) ");
    quoted("echo $((1 + (2))) ");
    quoted("echo `ls \\`x\\` ` ");
    quoted("echo ${x:-'}'} ");
    quoted("true # don't\necho ");
    quoted("cat <<EOF\nit's $(\nEOF\necho ");
    quoted("cat <<-'E F'\n\tit's\n\tE F\necho ");
    quoted("cat <<A <<B\nA\n'\nB\necho ");
    quoted("cat <<<x\necho ");
    quoted("echo a#b $# ");
    quoted("echo x 2>&1 ");
    quoted("echo \\\n# it's\n");
    quoted("echo $'it is' ");
    quoted("$(echo '#' # it's )\n) ");
}

/// Numbers that look random and are the same every time (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn value(&mut self) -> String {
        const BITS: &[&str] = &[
            "a", "0", "7", "Z", "_", "/", ".", ":", "=", "@", "%", "+", ",", "-", " ", "\t", "\n", "'", "\"",
            "\\", "$", "$x", "${x}", "$(id)", "`id`", "*", "?", "[a-z]", "~", "!", "#", "&", "|", ";", "<",
            ">", "(", ")", "{a,b}", "}", "..", "\r", "é", "日", "\u{7f}", "EOF", "EOF\n", "\\\n",
        ];
        let len = self.below(9);
        (0..len).map(|_| BITS[self.below(BITS.len())]).collect()
    }
}

/// 6000 random values in every quotable position reach the command unchanged.
#[test]
fn no_value_is_changed() {
    use Piece::{Text, Word, Words};
    for shell in [&["/bin/sh"][..], &["/bin/bash"], &["/bin/busybox", "sh"], &["/usr/bin/busybox", "sh"]] {
        if !std::path::Path::new(shell[0]).exists() {
            continue;
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut script = "x=X\ncd /\n".to_owned();
        let mut expected: Vec<String> = Vec::new();
        for round in 0..6000 {
            let (a, b) = (random.value(), random.value());
            let list = [a.clone(), b.clone()];
            let (pieces, words): (Vec<Piece<'_>>, Vec<String>) = match round % 10 {
                0 => (vec![Word(&a), Text(" "), Word(&b)], vec![a.clone(), b.clone()]),
                1 => (vec![Text("p"), Word(&a), Text("m"), Word(&b)], vec![format!("p{a}m{b}")]),
                2 => (vec![Text("'l "), Word(&a), Text(" r'"), Word(&b)], vec![format!("l {a} r{b}")]),
                3 => (vec![Text("\"l "), Word(&a), Text(" r\""), Word(&b)], vec![format!("l {a} r{b}")]),
                4 => (vec![Words(&list)], list.to_vec()),
                5 => (
                    vec![Text("$x"), Word(&a), Text("\"$x"), Word(&b), Text("\"")],
                    vec![format!("X{a}X{b}")],
                ),
                6 => (
                    vec![Text("\"$(echo \"a b\")"), Word(&a), Text("\" "), Word(&b)],
                    vec![format!("a b{a}"), b.clone()],
                ),
                7 => (
                    vec![Text("`echo 1`"), Word(&a), Text("${x}"), Word(&b), Text("x")],
                    vec![format!("1{a}X{b}x")],
                ),
                8 => (vec![Text("-{"), Word(&a), Text("}"), Word(&b)], vec![format!("-{{{a}}}{b}")]),
                _ => (
                    vec![Text("\\$ "), Word(&a), Text("# 'x' "), Word(&b), Text(" # it's")],
                    vec!["$".to_owned(), format!("{a}#"), "x".to_owned(), b.clone()],
                ),
            };
            let mut command = vec![Text("printf '%s\\0' ")];
            command.extend(pieces);
            script.push_str(&quote(&command, Dialect::Posix).expect("every position takes any value"));
            script.push('\n');
            expected.extend(words);
        }
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the shell starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()).expect("the shell reads"));
        let output = child.wait_with_output().expect("the shell ends");
        writer.join().expect("the script is written");
        let text = String::from_utf8(output.stdout).expect("values are UTF-8");
        let got: Vec<&str> = text.split_terminator('\0').collect();
        for (idx, (got, expected)) in got.iter().zip(&expected).enumerate() {
            assert_eq!(got, expected, "{shell:?}: value {idx}");
        }
        assert_eq!(got.len(), expected.len(), "{shell:?}");
    }
}

/// Whatever surrounds a value, the shell does not run a part of it: texts of random shell syntax, values that would
/// make a file if any of their words became a command.
#[test]
fn no_value_is_run() {
    const TEXTS: &[&str] = &[
        "'",
        "\"",
        "$(",
        ")",
        "`",
        "\\",
        "#",
        " ",
        "\n",
        "<<EOF\n",
        "\nEOF\n",
        "<<-'EOF'\n",
        "${x:-",
        "}",
        "$((",
        "))",
        "x",
        " y ",
        "$x",
        "$",
        "$'",
        ";",
        "case a in b) ",
        "esac",
        "{",
        "[",
        "<",
        ">",
        ">&",
        "&&",
        "|",
        "(",
        "~",
        "=",
        "\\\n",
        "!",
        ": ",
        "<<<",
        "<<\"E O\"\n",
        "\nE O\n",
        "if true; then ",
        "fi",
        "\t",
    ];
    const VALUES: &[&str] = &[
        "$(>pwned)",
        "`>pwned`",
        "';>pwned;'",
        "\";>pwned;\"",
        "\n>pwned\n",
        ";>pwned;",
        "&>pwned&",
        "|>pwned|",
        ")>pwned;",
        "});>pwned;",
        "\nEOF\n>pwned\n",
        "'\n>pwned\n'",
        "\"$(>pwned)\"",
        "\\';>pwned;\\'",
        "EOF",
        "'",
        "\"",
        "\\",
        "$",
        "`",
        "a b",
        "x",
        "1",
        "",
    ];
    let folder = tempfile::tempdir().expect("a folder for the shell");
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let mut pieces = vec![Piece::Text(": ")];
        let lists: Vec<Vec<String>> =
            (0..4).map(|_| vec![VALUES[random.below(VALUES.len())].to_owned(), "z".to_owned()]).collect();
        for list in &lists {
            for _ in 0..random.below(4) {
                pieces.push(Piece::Text(TEXTS[random.below(TEXTS.len())]));
            }
            match random.below(3) {
                0 => pieces.push(Piece::Words(list)),
                _ => pieces.push(Piece::Word(&list[0])),
            }
        }
        let Ok(script) = quote(&pieces, Dialect::Posix) else { continue };
        accepted += 1;
        let shell = ["/bin/sh", "/bin/bash"][round % 2];
        let status = Command::new(shell)
            .args(["-c", &script])
            .env_clear()
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok() || !std::path::Path::new(shell).exists());
        assert!(!folder.path().join("pwned").exists(), "{shell} ran a value: {script:?} of {pieces:?}");
    }
    assert!(accepted > ROUNDS / 20, "only {accepted} texts were accepted");
}

/// Few enough for every run of the tests; 150 000 have been run.
const ROUNDS: usize = 1500;
