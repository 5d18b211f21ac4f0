//! The text form of a label selector: `a in (x,y),!b,c!=d,e`, parsed as upstream's `labels.Parse` does.

use super::{BadSelector, Operator, Requirement, check_key};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Comma,
    Open,
    Close,
    Not,
    Binary(Operator, &'a str),
    Bad(&'a str),
    End,
}

impl<'a> Token<'a> {
    /// How the token is quoted in an error.
    fn literal(self) -> String {
        match self {
            Self::Word(word) | Self::Binary(_, word) => word.to_owned(),
            Self::Comma => ",".into(),
            Self::Open => "(".into(),
            Self::Close => ")".into(),
            Self::Not => "!".into(),
            Self::Bad(text) => format!("error expected: keyword found '{text}'"),
            Self::End => String::new(),
        }
    }

    /// `in` and `notin` are operators only after a key; elsewhere they are words.
    fn as_word(self) -> Option<&'a str> {
        match self {
            Self::Word(word) | Self::Binary(Operator::In | Operator::NotIn, word) => Some(word),
            _ => None,
        }
    }
}

/// Parses `text` into requirements, in the order of the text.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, BadSelector> {
    let mut parser = Parser { tokens: scan(text), at: 0 };
    let mut all = Vec::new();
    loop {
        match parser.peek() {
            Token::End => return Ok(all),
            token if token.as_word().is_some() || token == Token::Not => {
                let requirement = parser.requirement();
                all.push(requirement.map_err(|e| BadSelector(format!("unable to parse requirement: {e}")))?);
            }
            token => return found(token, ", expected: !, identifier, or 'end of string'"),
        }
        match parser.next() {
            Token::End => return Ok(all),
            Token::Comma => match parser.peek() {
                token if token.as_word().is_some() || token == Token::Not => {}
                token => return found(token, ", expected: identifier after ','"),
            },
            token => return found(token, ", expected: ',' or 'end of string'"),
        }
    }
}

fn found<T>(token: Token<'_>, expected: &str) -> Result<T, BadSelector> {
    Err(BadSelector(format!("found '{}'{expected}", token.literal())))
}

fn scan(text: &str) -> Vec<Token<'_>> {
    const SPECIAL: &[char] = &['=', '!', '(', ')', ',', '>', '<'];
    const BLANK: &[char] = &[' ', '\t', '\r', '\n'];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(BLANK);
    while !rest.is_empty() {
        let special = rest.find(|c| !SPECIAL.contains(&c)).unwrap_or(rest.len());
        let (token, length) = if special > 0 {
            symbol(&rest[..special])
        } else {
            let length = rest.find(|c| SPECIAL.contains(&c) || BLANK.contains(&c)).unwrap_or(rest.len());
            (word(&rest[..length]), length)
        };
        tokens.push(token);
        rest = rest[length..].trim_start_matches(BLANK);
    }
    tokens
}

fn word(text: &str) -> Token<'_> {
    match text {
        "in" => Token::Binary(Operator::In, text),
        "notin" => Token::Binary(Operator::NotIn, text),
        _ => Token::Word(text),
    }
}

/// Takes the longest known symbol that `run` begins with.
fn symbol(run: &str) -> (Token<'_>, usize) {
    match run.as_bytes() {
        [b'=', b'=', ..] => (Token::Binary(Operator::DoubleEquals, &run[..2]), 2),
        [b'!', b'=', ..] => (Token::Binary(Operator::NotEquals, &run[..2]), 2),
        [b'=', ..] => (Token::Binary(Operator::Equals, &run[..1]), 1),
        [b'>', ..] => (Token::Binary(Operator::GreaterThan, &run[..1]), 1),
        [b'<', ..] => (Token::Binary(Operator::LessThan, &run[..1]), 1),
        [b'!', ..] => (Token::Not, 1),
        [b'(', ..] => (Token::Open, 1),
        [b')', ..] => (Token::Close, 1),
        [b',', ..] => (Token::Comma, 1),
        _ => (Token::Bad(run), run.len()),
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, BadSelector> {
        let mut token = self.next();
        let negated = token == Token::Not;
        if negated {
            token = self.next();
        }
        let Some(key) = token.as_word() else { return found(token, ", expected: identifier") };
        check_key("<nil>", key)?;
        let alone = matches!(self.peek(), Token::End | Token::Comma);
        if alone || negated {
            // After `!a` an operator is not looked for: in `!a=b` it is what the caller finds instead of a comma.
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Requirement::checked(key, operator, Vec::new());
        }
        let operator = match self.next() {
            Token::Binary(operator, _) => operator,
            token => return found(token, ", expected: in, notin, =, ==, !=, gt, lt"),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::checked(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, BadSelector> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        token.as_word().map_or_else(|| found(token, ", expected: identifier"), |word| Ok(word.to_owned()))
    }

    /// `(x,y)`; nothing between commas or parentheses is the empty value.
    fn values(&mut self) -> Result<Vec<String>, BadSelector> {
        let open = self.next();
        if open != Token::Open {
            return found(open, " expected: '('");
        }
        let first = self.peek();
        if first == Token::Close {
            self.next();
            return Ok(vec![String::new()]);
        }
        if first.as_word().is_none() && first != Token::Comma {
            return found(first, ", expected: ',', ')' or identifier");
        }
        let mut values = Vec::new();
        loop {
            let token = self.next();
            if let Some(word) = token.as_word() {
                values.push(word.to_owned());
                match self.next() {
                    Token::Comma if self.peek() == Token::Close => {
                        values.push(String::new());
                        self.next();
                        return Ok(values);
                    }
                    Token::Comma => {}
                    Token::Close => return Ok(values),
                    token => return found(token, ", expected: ',' or ')'"),
                }
            } else if token == Token::Comma {
                values.push(String::new());
                if self.peek() == Token::Close {
                    self.next();
                    return Ok(values);
                }
            } else {
                return found(token, ", expected: ',', or identifier");
            }
        }
    }
}
