//! The view as an SVG image, laid out here: no other program is needed to draw it.
//!
//! Text is set in a font of fixed width and measured by columns. Where a character may come from another font, the text is
//! told its length, so that it never runs out of its box.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::layout::{Flow, Layout, Rect, Route, Xy, layout};
use super::{Kind, Link, Node, Role, View, title};

/// How the graph looks; the page uses it, too. Colours are variables: [`LIGHT`] or [`DARK`].
pub(super) const STYLE: &str = include_str!("svg.css");
/// Colours on a light ground.
pub(super) const LIGHT: &str = "--ground:#ffffff;--card:#ffffff;--ink:#1b2430;--dim:#566173;--rule:#cdd5df;\
    --line:#7d8998;--frame:#f4f6f9;--accent:#1d4ed8;--source:#2563eb;--exec:#c2740a;--file:#15803d;--merge:#7c3aed;\
    --diff:#7c3aed;--require:#be123c;--build:#4b5563;--target:#0f172a";
/// Colours on a dark ground.
pub(super) const DARK: &str = "--ground:#0f141b;--card:#1a222d;--ink:#e4e9f0;--dim:#9aa6b6;--rule:#364252;\
    --line:#76849a;--frame:#151c26;--accent:#7aa7ff;--source:#60a5fa;--exec:#f0b04a;--file:#4ade80;--merge:#b794f6;\
    --diff:#b794f6;--require:#fb7185;--build:#9ca3af;--target:#dbe4f0";

/// Blank space around the picture.
const MARGIN: f64 = 16.0;
/// Height of a line of the legend.
const LEGEND_LINE: f64 = 22.0;

/// Sizes of texts.
pub(super) mod measure {
    use unicode_width::UnicodeWidthStr;

    use crate::graph::view::Node;
    use crate::graph::view::layout::Xy;

    /// Width of a column of a name, 12 pixels high; the widest of the fonts that [`super::STYLE`] names.
    pub(in crate::graph::view) const NAME: f64 = 7.3;
    /// Width of a column of smaller text, 10.5 pixels high.
    pub(in crate::graph::view) const SMALL: f64 = 6.4;
    /// Height of a line of a name.
    pub(in crate::graph::view) const LINE: f64 = 16.0;

    /// The box of a node.
    pub(in crate::graph::view) fn node(node: &Node) -> Xy {
        let name = node.lines.iter().map(|line| line.width()).max().unwrap_or(0) as f64 * NAME;
        let kind = node.subtitle().width() as f64 * SMALL;
        Xy { x: (name.max(kind) + 30.0).max(96.0), y: 30.0 + node.lines.len() as f64 * LINE }
    }

    /// The label of a line.
    pub(in crate::graph::view) fn label(text: &str) -> Xy {
        Xy { x: text.width() as f64 * SMALL + 8.0, y: 16.0 }
    }
}

/// A picture that stands for itself.
pub fn svg(view: &View) -> String {
    let layout = layout(view);
    let width = layout.size.x.max(220.0) + 2.0 * MARGIN;
    let (legend, height) = legend(view, width - 2.0 * MARGIN);
    let height = layout.size.y + height + 2.0 * MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"graph\" role=\"img\" aria-label=\"build graph\" \
         width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\">\n<style>\n.graph{{{LIGHT}}}\n\
         @media(prefers-color-scheme:dark){{.graph{{{DARK}}}}}\n{STYLE}</style>\n",
        w = number(width),
        h = number(height)
    );
    let _ = writeln!(text, "{}", defs());
    let _ = writeln!(text, "<g transform=\"translate({m} {m})\">", m = number(MARGIN));
    text.push_str(&body(view, &layout));
    let y = layout.size.y;
    let _ = writeln!(text, "<g class=\"legend\" transform=\"translate(0 {})\">\n{legend}</g>", number(y));
    text.push_str("</g>\n</svg>\n");
    text
}

/// The heads of lines.
pub(super) fn defs() -> &'static str {
    "<defs>\n\
     <marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
     markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0.5 0.5 8 4 0.5 7.5z\"/></marker>\n\
     <marker id=\"arrow-base\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"10\" markerHeight=\"10\" \
     markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0.5 0.5 8 4 0.5 7.5z\"/></marker>\n</defs>"
}

/// Frames, lines and boxes, from the origin on.
pub(super) fn body(view: &View, layout: &Layout) -> String {
    let mut text = String::new();
    for (group, rect) in view.groups.iter().zip(&layout.groups) {
        let columns = ((rect.size.x - 20.0) / 7.0).max(4.0) as usize;
        let name = title::clipped(&group.title, columns);
        let _ = writeln!(
            text,
            "<g class=\"group\"><title>{}</title>{}<text class=\"frame-name\" x=\"{}\" y=\"{}\"{}>{}</text></g>",
            escape(&group.title),
            rect_of("frame", *rect, 10.0),
            number(rect.at.x + 12.0),
            number(rect.at.y + 18.0),
            length(&name, 7.0),
            escape(&name),
        );
    }
    // Labels above all lines.
    for (link, route) in view.links.iter().zip(&layout.routes) {
        text.push_str(&line(view, link, route, layout.flow, Part::Path));
    }
    for (link, route) in view.links.iter().zip(&layout.routes) {
        text.push_str(&line(view, link, route, layout.flow, Part::Label));
    }
    for (id, (node, rect)) in view.nodes.iter().zip(&layout.nodes).enumerate() {
        text.push_str(&node_box(id, node, *rect));
    }
    text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Label,
}

/// A part of a line; nothing for the label of one that has none.
fn line(view: &View, link: &Link, route: &Route, flow: Flow, part: Part) -> String {
    let content = match (part, &route.label) {
        (Part::Path, _) => format!("<path d=\"{}\"/>", curve(&route.points, flow)),
        (Part::Label, None) => return String::new(),
        (Part::Label, Some((label, at))) => format!(
            "<text class=\"label\" x=\"{}\" y=\"{}\"{}>{}</text>",
            number(at.x),
            number(at.y + 3.5),
            length(label, measure::SMALL),
            escape(label)
        ),
    };
    let far = route.far.map(|far| format!(" data-far=\"{}\"", far.0)).unwrap_or_default();
    format!(
        "<g class=\"link {}{}{}\" data-from=\"{}\" data-to=\"{}\"{far}><title>{}</title>{content}</g>\n",
        link.role.word(),
        if view.nodes[link.to.0].group.is_some() { " framed" } else { "" },
        if route.far.is_some() { " cut" } else { "" },
        link.from.0,
        link.to.0,
        escape(&link.notes.join("\n")),
    )
}

/// Straight inside ranks, bent between them, as in the order of [`Route::points`].
fn curve(points: &[Xy], flow: Flow) -> String {
    let mut path = String::new();
    for (idx, to) in points.iter().enumerate() {
        let (x, y) = (number(to.x), number(to.y));
        let Some(from) = idx.checked_sub(1).map(|before| points[before]) else {
            let _ = write!(path, "M{x} {y}");
            continue;
        };
        if from == *to {
            continue;
        }
        if idx % 2 == 1 {
            let _ = write!(path, "L{x} {y}");
            continue;
        }
        let _ = match flow {
            Flow::Down => {
                let middle = number((from.y + to.y) / 2.0);
                write!(path, "C{} {middle} {x} {middle} {x} {y}", number(from.x))
            }
            Flow::Right => {
                let middle = number((from.x + to.x) / 2.0);
                write!(path, "C{middle} {} {middle} {y} {x} {y}", number(from.y))
            }
        };
    }
    path
}

fn node_box(id: usize, node: &Node, rect: Rect) -> String {
    let mut text = format!(
        "<g class=\"node {}\" id=\"n{id}\" data-id=\"{id}\"><title>{}</title>{}",
        node.kind.word(),
        escape(&node.title),
        rect_of("box", rect, 7.0)
    );
    let Xy { x, y } = rect.at;
    let _ = write!(
        text,
        "<rect class=\"bar\" x=\"{}\" y=\"{}\" width=\"4\" height=\"{}\" rx=\"2\"/>",
        number(x + 6.0),
        number(y + 8.0),
        number(rect.size.y - 16.0)
    );
    let x = number(x + 18.0);
    for (idx, line) in node.lines.iter().enumerate() {
        let y = number(y + 19.0 + idx as f64 * measure::LINE);
        let length = length(line, measure::NAME);
        let _ = write!(text, "<text class=\"name\" x=\"{x}\" y=\"{y}\"{length}>{}</text>", escape(line));
    }
    let subtitle = node.subtitle();
    let y = number(y + rect.size.y - 10.0);
    let length = length(&subtitle, measure::SMALL);
    let _ =
        writeln!(text, "<text class=\"kind\" x=\"{x}\" y=\"{y}\"{length}>{}</text></g>", escape(&subtitle));
    text
}

fn rect_of(class: &str, rect: Rect, radius: f64) -> String {
    format!(
        "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>",
        number(rect.at.x),
        number(rect.at.y),
        number(rect.size.x),
        number(rect.size.y),
        number(radius)
    )
}

/// What the colours and lines of a picture mean, in a given width; and its height.
fn legend(view: &View, width: f64) -> (String, f64) {
    let mut text = String::new();
    let (mut x, mut y) = (0.0, LEGEND_LINE);
    let mut put = |word: &str, mark: &dyn Fn(f64, f64) -> String| {
        let wide = 30.0 + word.width() as f64 * measure::SMALL + 18.0;
        if 0.0 < x && width < x + wide {
            (x, y) = (0.0, y + LEGEND_LINE);
        }
        let _ = writeln!(
            text,
            "{}<text class=\"kind\" x=\"{}\" y=\"{}\">{word}</text>",
            mark(x, y),
            number(x + 30.0),
            number(y + 4.0)
        );
        x += wide;
    };
    for kind in kinds(view) {
        let word = kind.word();
        put(word, &|x, y| {
            let (x, y) = (number(x + 9.0), number(y - 6.0));
            format!(
                "<g class=\"{word}\"><rect class=\"bar\" x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" rx=\"3\"/></g>"
            )
        });
    }
    for role in roles(view) {
        let class = role.word();
        put(explained(role), &|x, y| {
            let y = number(y);
            format!("<g class=\"link {class}\"><path d=\"M{} {y}L{} {y}\"/></g>", number(x), number(x + 24.0))
        });
    }
    (text, y + LEGEND_LINE / 2.0)
}

/// The kinds that a view has.
pub(super) fn kinds(view: &View) -> Vec<Kind> {
    Kind::ALL.into_iter().filter(|kind| view.nodes.iter().any(|node| node.kind == *kind)).collect()
}

/// The roles that a view's lines have.
pub(super) fn roles(view: &View) -> Vec<Role> {
    let mut roles: Vec<Role> = view.links.iter().map(|link| link.role).collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

/// What a kind of line means, in a legend.
pub(super) fn explained(role: Role) -> &'static str {
    match role {
        Role::Base => "built on",
        Role::Mount => "mounted at",
        Role::Copy => "copied from",
        Role::Part => "part of",
        Role::Needs => "must succeed first",
        Role::Output => "is what the target gives",
    }
}

/// The attributes that hold a text at its measured length where other fonts may have a say.
fn length(text: &str, column: f64) -> String {
    if text.is_ascii() {
        return String::new();
    }
    let width = number(text.width() as f64 * column);
    format!(" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\"")
}

/// A coordinate with at most one digit behind the point.
pub(super) fn number(value: f64) -> String {
    let tenths = (value * 10.0).round() as i64;
    if tenths % 10 == 0 { (tenths / 10).to_string() } else { format!("{:.1}", tenths as f64 / 10.0) }
}

/// Text and attribute values of XML and HTML. Characters that XML cannot hold, and marks that turn the direction of the
/// text around them, are shown as what they are: not text.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\r' => {}
            c if c.is_control() || title::is_direction(c) => escaped.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
