//! Reading Rust as text: comments and strings blanked out, paths picked up, groups of `use` spread.

use super::table::Of;

/// A file's text, and the same with comments and literals blanked, line by line alike.
pub(super) struct Source {
    text: String,
    code: String,
}

impl Source {
    pub(super) fn new(text: &str) -> Source {
        Source { text: text.to_owned(), code: blank(text) }
    }

    /// Lines with their numbers, counted from one.
    pub(super) fn lines(&self, of: Of) -> impl Iterator<Item = (usize, &str)> {
        let text = if of == Of::Code { &self.code } else { &self.text };
        text.lines().enumerate().map(|(n, line)| (n + 1, line))
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the text has this word, not as a part of a longer one.
pub(super) fn has(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(in_word) && word.starts_with(in_word);
        let after = text[at + word.len()..].chars().next().is_some_and(in_word) && word.ends_with(in_word);
        !before && !after
    })
}

/// Blanks comments, strings and characters, keeping every line break.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match literal_end(&chars, at) {
            Some(end) => end,
            None => {
                code.push(chars[at]);
                at += 1;
                continue;
            }
        };
        code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

/// Where the comment or literal ends that begins here, if one does.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let after_word = at > 0 && in_word(chars[at - 1]);
    match chars[at] {
        '/' if next(1) == '/' => Some(find(chars, at, |rest| rest[0] == '\n').unwrap_or(chars.len())),
        '/' if next(1) == '*' => Some(comment_end(chars, at)),
        '"' => Some(string_end(chars, at + 1)),
        'r' if !after_word || next_is_byte_raw(chars, at) => raw_end(chars, at),
        // A character, unless it is a lifetime.
        '\'' if next(1) == '\\' => find(chars, at + 3, |rest| rest[0] == '\'').map(|end| end + 1),
        '\'' if next(2) == '\'' => Some(at + 3),
        _ => None,
    }
}

fn next_is_byte_raw(chars: &[char], at: usize) -> bool {
    chars[at - 1] == 'b' && (at < 2 || !in_word(chars[at - 2]))
}

fn find(chars: &[char], from: usize, is: impl Fn(&[char]) -> bool) -> Option<usize> {
    (from..chars.len()).find(|at| is(&chars[*at..]))
}

fn comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Of `r"…"` and `r#"…"#`.
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    (chars.get(open) == Some(&'"')).then(|| {
        let close = |rest: &[char]| rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes;
        find(chars, open + 1, close).map_or(chars.len(), |end| end + 1 + hashes)
    })
}

/// Every path of at least two parts, and every single name that is used or declared extern, with its line. Paths from
/// here on are told from the root: `self` and `super` become `crate::…` as far as they stay inside it.
pub(super) fn uses(source: &Source, module: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let tokens = tokens(&source.code);
    let mut at = 0;
    while at < tokens.len() {
        let (_, token) = &tokens[at];
        let continues = at > 0 && (tokens[at - 1].1 == "::" || tokens[at - 1].1 == ".");
        let rooted = token == "::" && !path_before(&tokens, at);
        let in_use = at > 0 && tokens[at - 1].1 == "use";
        let named = token.starts_with(in_word) && !KEYWORDS.contains(&token.as_str());
        let starts = (named && !continues) || rooted || (in_use && token == "{");
        if starts {
            at = spread(&tokens, at, "", &mut found, in_use).max(at + 1);
        } else {
            at += 1;
        }
    }
    let own = own_names(&tokens);
    found
        .into_iter()
        .filter(|(_, path)| !own.iter().any(|name| path.split("::").next() == Some(name)))
        .map(|(line, path)| (line, resolve(path.trim_start_matches("::"), module)))
        .collect()
}

/// What a file hands on under its own path: each name, and what it stands for, told from the root. One that gets
/// another name is left out.
pub(super) fn reexports(source: &Source, module: &str) -> Vec<(String, String)> {
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    for at in 1..tokens.len() {
        let before = tokens[..at].iter().rev().map(|(_, token)| token.as_str());
        // `pub(…)` as well.
        let mut before = before.skip_while(|token| *token == ")" || ["crate", "super", "in", "("].contains(token));
        if tokens[at].1 == "use" && before.next() == Some("pub") {
            spread(&tokens, at + 1, "", &mut found, true);
        }
    }
    let own = own_names(&tokens);
    let from_root = |(_, path): (usize, String)| {
        let is_own = own.iter().any(|name| path.split("::").next() == Some(name));
        let path = resolve(&if is_own { format!("self::{path}") } else { path }, module);
        Some((path.rsplit("::").next()?.to_owned(), path))
    };
    found.into_iter().filter_map(from_root).collect()
}

/// After which a path may begin with `::`.
const KEYWORDS: &[&str] = &["use", "in", "dyn", "impl", "mut", "return", "match", "if", "else", "as", "for", "where"];

/// Whether the `::` here goes on with what stands before it.
fn path_before(tokens: &[(usize, String)], at: usize) -> bool {
    at > 0 && {
        let before = tokens[at - 1].1.as_str();
        before == ">" || (before.ends_with(in_word) && !KEYWORDS.contains(&before))
    }
}

/// Modules declared here: `mod rows;` makes `rows::…` a path within.
fn own_names(tokens: &[(usize, String)]) -> Vec<String> {
    tokens.windows(2).filter(|pair| pair[0].1 == "mod").map(|pair| pair[1].1.clone()).collect()
}

/// Words, `::`, and every other character by itself.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let len = match first {
                _ if in_word(first) => rest.find(|c| !in_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            found.push((line + 1, rest[..len].to_owned()));
            rest = rest[len..].trim_start();
        }
    }
    found
}

/// Follows a path from here, through its groups, and answers where it ends.
fn spread(tokens: &[(usize, String)], from: usize, prefix: &str, to: &mut Vec<(usize, String)>, used: bool) -> usize {
    let mut path = prefix.to_owned();
    let mut at = from;
    let line = tokens[from].0;
    while let Some((_, token)) = tokens.get(at) {
        match token.as_str() {
            "{" if used || path.ends_with("::") => {
                at += 1;
                while let Some((_, token)) = tokens.get(at) {
                    match token.as_str() {
                        "}" => return at + 1,
                        "," => at += 1,
                        _ => at = spread(tokens, at, &path, to, true).max(at + 1),
                    }
                }
                return at;
            }
            "::" => path.push_str("::"),
            "as" if used => {
                at += 2;
                break;
            }
            word if word.starts_with(in_word) && (path.is_empty() || path.ends_with("::")) => path.push_str(word),
            _ => break,
        }
        at += 1;
    }
    let path = path.trim_end_matches("::").trim_end_matches("::self").to_owned();
    if used || path.trim_start_matches("::").contains("::") {
        to.push((line, path));
    }
    at
}

/// `super::x` in `a::b` is `crate::a::x`. What would leave the crate stays as it is written.
fn resolve(path: &str, module: &str) -> String {
    let mut here: Vec<&str> = module.split("::").collect();
    let mut rest = path.strip_prefix("self::").unwrap_or(path);
    if rest.len() == path.len() && rest != "super" && !rest.starts_with("super::") {
        return path.to_owned();
    }
    while let Some(after) = rest.strip_prefix("super").filter(|after| after.is_empty() || after.starts_with("::")) {
        if here.pop().is_none() {
            return path.to_owned();
        }
        rest = after.trim_start_matches("::");
    }
    here.insert(0, "crate");
    here.push(rest);
    here.join("::").trim_end_matches("::").to_owned()
}
