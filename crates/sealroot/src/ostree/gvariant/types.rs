// SPDX-License-Identifier: MIT OR Apache-2.0
//! GVariant type strings.

use super::MAX_DEPTH;

/// A type with what its encoding depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Type {
    /// 1, 2, 4 or 8.
    pub(super) alignment: usize,
    /// The length of every value; `None` where it varies.
    pub(super) fixed_size: Option<usize>,
    pub(super) shape: Shape,
}

/// What a type is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Boolean,
    Number,
    String,
    ObjectPath,
    Signature,
    Variant,
    Maybe(Box<Type>),
    Array(Box<Type>),
    /// Also a dictionary entry.
    Tuple(Vec<Type>),
}

impl Type {
    /// The type that `text` spells, which must be exactly one complete type.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        match Self::split(text, 0)? {
            (ty, []) => Some(ty),
            _ => None,
        }
    }

    /// The first type of `text`, and the rest.
    pub(super) fn split(text: &[u8], depth: usize) -> Option<(Self, &[u8])> {
        if depth >= MAX_DEPTH {
            return None;
        }
        let inner = depth.checked_add(1)?;
        let (code, rest) = text.split_first()?;
        let number = |size| Self::fixed(size, Shape::Number);
        let ty = match code {
            b'b' => Self::fixed(1, Shape::Boolean),
            b'y' => number(1),
            b'n' | b'q' => number(2),
            b'i' | b'u' | b'h' => number(4),
            b'x' | b't' | b'd' => number(8),
            b's' => Self::variable(1, Shape::String),
            b'o' => Self::variable(1, Shape::ObjectPath),
            b'g' => Self::variable(1, Shape::Signature),
            b'v' => Self::variable(8, Shape::Variant),
            b'a' | b'm' => {
                let (element, rest) = Self::split(rest, inner)?;
                let (alignment, element) = (element.alignment, Box::new(element));
                let shape = match code {
                    b'a' => Shape::Array(element),
                    _ => Shape::Maybe(element),
                };
                return Some((Self::variable(alignment, shape), rest));
            }
            b'(' => return Self::members(rest, b')', inner),
            b'{' => {
                let (entry, after) = Self::members(rest, b'}', inner)?;
                let is_entry = rest.first().is_some_and(|key| is_basic(*key))
                    && matches!(&entry.shape, Shape::Tuple(members) if members.len() == 2);
                return is_entry.then_some((entry, after));
            }
            _ => return None,
        };
        Some((ty, rest))
    }

    fn members(mut text: &[u8], close: u8, depth: usize) -> Option<(Self, &[u8])> {
        let mut members = Vec::new();
        loop {
            match text.split_first()? {
                (code, rest) if *code == close => return Some((Self::tuple(members)?, rest)),
                _ => {
                    let (member, rest) = Self::split(text, depth)?;
                    members.push(member);
                    text = rest;
                }
            }
        }
    }

    fn tuple(members: Vec<Self>) -> Option<Self> {
        let alignment = members.iter().map(|member| member.alignment).max();
        let alignment = alignment.unwrap_or(1);
        let mut size = Some(0usize);
        for member in &members {
            size = match (size, member.fixed_size) {
                (Some(end), Some(member_size)) => Some(
                    end.checked_next_multiple_of(member.alignment)?
                        .checked_add(member_size)?,
                ),
                _ => None,
            };
        }
        // The empty tuple is one zero byte.
        let fixed_size = match size {
            Some(size) => Some(size.max(1).checked_next_multiple_of(alignment)?),
            None => None,
        };
        Some(Self {
            alignment,
            fixed_size,
            shape: Shape::Tuple(members),
        })
    }

    const fn fixed(size: usize, shape: Shape) -> Self {
        Self {
            alignment: size,
            fixed_size: Some(size),
            shape,
        }
    }

    const fn variable(alignment: usize, shape: Shape) -> Self {
        Self {
            alignment,
            fixed_size: None,
            shape,
        }
    }
}

/// Whether a type code may be the key of a dictionary entry.
const fn is_basic(code: u8) -> bool {
    matches!(
        code,
        b'b' | b'y' | b'n' | b'q' | b'i' | b'u' | b'h' | b'x' | b't' | b'd' | b's' | b'o' | b'g'
    )
}
