// SPDX-License-Identifier: MIT OR Apache-2.0
//! Normal form of values whose type stands in the data.

use super::types::{Shape, Type};
use super::{Array, MAX_DEPTH, NotNormal, Result, Tuple, skip_padding, string};

/// Checks a dictionary of type `a{sv}` with all that is in it.
pub(super) fn check_dictionary(bytes: &[u8]) -> Result<()> {
    Array::new(bytes, 8)?.try_for_each(|entry| {
        let (_, value) = split_entry(entry?)?;
        check_variant(value, 1)
    })
}

/// The key and the variant of an entry `{sv}`.
pub(super) fn split_entry(entry: &[u8]) -> Result<(&str, &[u8])> {
    let mut entry = Tuple::new(entry, 1)?;
    let key = string(entry.framed(1)?)?;
    Ok((key, entry.last(8)?))
}

/// A variant is the value, a NUL and the type.
pub(super) fn split_variant(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let nul = bytes.iter().rposition(|byte| *byte == 0);
    let (value, ty) = nul
        .and_then(|nul| bytes.split_at_checked(nul))
        .ok_or(NotNormal::Type)?;
    Ok((value, ty.get(1..).ok_or(NotNormal::Type)?))
}

fn check_variant(bytes: &[u8], depth: usize) -> Result<()> {
    let (value, ty) = split_variant(bytes)?;
    check(&Type::parse(ty).ok_or(NotNormal::Type)?, value, depth)
}

fn check(ty: &Type, bytes: &[u8], depth: usize) -> Result<()> {
    if depth >= MAX_DEPTH {
        return Err(NotNormal::Depth);
    }
    if let Some(size) = ty.fixed_size
        && bytes.len() != size
    {
        return Err(if bytes.len() < size {
            NotNormal::Truncated
        } else {
            NotNormal::Excess
        });
    }
    let inner = depth.saturating_add(1);
    match &ty.shape {
        Shape::Number => Ok(()),
        Shape::Boolean if matches!(bytes, [0 | 1]) => Ok(()),
        Shape::Boolean => Err(NotNormal::Boolean),
        Shape::String => string(bytes).map(drop),
        Shape::ObjectPath => check_object_path(string(bytes)?),
        Shape::Signature => check_signature(string(bytes)?.as_bytes()),
        Shape::Variant => check_variant(bytes, inner),
        Shape::Maybe(element) => check_maybe(element, bytes, inner),
        Shape::Array(element) => check_array(element, bytes, inner),
        Shape::Tuple(members) => check_tuple(ty, members, bytes, inner),
    }
}

fn check_maybe(element: &Type, bytes: &[u8], depth: usize) -> Result<()> {
    match (element.fixed_size, bytes.split_last()) {
        (_, None) => Ok(()),
        (Some(_), Some(_)) => check(element, bytes, depth),
        // A value of variable size is followed by one zero byte.
        (None, Some((0, value))) => check(element, value, depth),
        (None, Some(_)) => Err(NotNormal::Padding),
    }
}

fn check_array(element: &Type, bytes: &[u8], depth: usize) -> Result<()> {
    let Some(size) = element.fixed_size else {
        return Array::new(bytes, element.alignment)?
            .try_for_each(|bytes| check(element, bytes?, depth));
    };
    let mut chunks = bytes.chunks_exact(size);
    if !chunks.remainder().is_empty() {
        return Err(NotNormal::Truncated);
    }
    if element.shape == Shape::Number {
        return Ok(());
    }
    chunks.try_for_each(|bytes| check(element, bytes, depth))
}

fn check_tuple(ty: &Type, members: &[Type], bytes: &[u8], depth: usize) -> Result<()> {
    let Some((last, others)) = members.split_last() else {
        // The empty tuple is one zero byte.
        return if bytes == [0] {
            Ok(())
        } else {
            Err(NotNormal::Padding)
        };
    };
    let framed = others.iter().filter(|ty| ty.fixed_size.is_none()).count();
    let mut tuple = Tuple::new(bytes, framed)?;
    for member in others {
        let bytes = match member.fixed_size {
            Some(size) => tuple.fixed(member.alignment, size)?,
            None => tuple.framed(member.alignment)?,
        };
        check(member, bytes, depth)?;
    }
    let Some(size) = last.fixed_size else {
        return check(last, tuple.last(last.alignment)?, depth);
    };
    check(last, tuple.fixed(last.alignment, size)?, depth)?;
    if ty.fixed_size.is_some() {
        // A tuple of fixed size is padded to its own alignment.
        tuple.position = skip_padding(tuple.body, tuple.position, ty.alignment)?;
    }
    tuple.finish()
}

/// `/`, or one or more times a slash and a word.
fn check_object_path(path: &str) -> Result<()> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match path.strip_prefix('/') {
        Some("") => Ok(()),
        Some(words) if words.split('/').all(is_word) => Ok(()),
        _ => Err(NotNormal::Characters),
    }
}

/// Any number of complete types.
fn check_signature(mut text: &[u8]) -> Result<()> {
    while !text.is_empty() {
        (_, text) = Type::split(text, 0).ok_or(NotNormal::Characters)?;
    }
    Ok(())
}
