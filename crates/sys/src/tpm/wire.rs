// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands and answers as bytes: all numbers big-endian.

use super::{DIGEST_BYTES, TpmError};

/// `TPM_ST_NO_SESSIONS`, `TPM_ST_SESSIONS`
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;

/// `TPM_RS_PW`: a password in the place of a session.
const PASSWORD: u32 = 0x4000_0009;

/// `TPM_RH_OWNER`
const OWNER: u32 = 0x4000_0001;

/// `TPM_ALG_SHA256`
const SHA256: u16 = 0x000b;

/// Bytes of the header of commands and answers: tag, length, code.
const HEADER_BYTES: usize = 10;

/// A command that is being put together.
#[derive(Debug)]
pub(super) struct Command {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Command {
    fn new(name: &'static str, tag: u16, code: u32) -> Self {
        let mut bytes = tag.to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(code.to_be_bytes());
        Self { name, bytes }
    }

    fn u16(mut self, number: u16) -> Self {
        self.bytes.extend(number.to_be_bytes());
        self
    }

    fn u32(mut self, number: u32) -> Self {
        self.bytes.extend(number.to_be_bytes());
        self
    }

    /// The authorisation area: an empty password.
    fn empty_password(self) -> Self {
        const AREA_BYTES: u32 = 9;
        let mut with = self.u32(AREA_BYTES).u32(PASSWORD).u16(0);
        with.bytes.push(0);
        with.u16(0)
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// The command with its length filled in.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        for (at, byte) in bytes.iter_mut().skip(2).zip(length) {
            *at = byte;
        }
        bytes
    }
}

pub(super) fn pcr_extend(pcr: u32, digest: &[u8; DIGEST_BYTES]) -> Command {
    let mut command = Command::new("TPM2_PCR_Extend", SESSIONS, 0x182)
        .u32(pcr)
        .empty_password()
        .u32(1)
        .u16(SHA256);
    command.bytes.extend(digest);
    command
}

pub(super) fn nv_read_public(index: u32) -> Command {
    Command::new("TPM2_NV_ReadPublic", NO_SESSIONS, 0x169).u32(index)
}

pub(super) fn nv_read(index: u32, size_bytes: u16) -> Command {
    Command::new("TPM2_NV_Read", SESSIONS, 0x14e)
        .u32(index)
        .u32(index)
        .empty_password()
        .u16(size_bytes)
        .u16(0)
}

pub(super) fn nv_increment(index: u32) -> Command {
    Command::new("TPM2_NV_Increment", SESSIONS, 0x134)
        .u32(index)
        .u32(index)
        .empty_password()
}

/// With an empty password and no policy.
pub(super) fn nv_define_space(index: u32, attributes: u32, size_bytes: u16) -> Command {
    const PUBLIC_BYTES: u16 = 14;
    Command::new("TPM2_NV_DefineSpace", SESSIONS, 0x12a)
        .u32(OWNER)
        .empty_password()
        .u16(0)
        .u16(PUBLIC_BYTES)
        .u32(index)
        .u16(SHA256)
        .u32(attributes)
        .u16(0)
        .u16(size_bytes)
}

pub(super) fn nv_undefine_space(index: u32) -> Command {
    Command::new("TPM2_NV_UndefineSpace", SESSIONS, 0x122)
        .u32(OWNER)
        .u32(index)
        .empty_password()
}

/// The public area of an NV index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NvPublic {
    pub(super) index: u32,
    pub(super) attributes: u32,
    pub(super) has_policy: bool,
    pub(super) size_bytes: u16,
}

/// A successful answer.
#[derive(Debug)]
pub(super) struct Response {
    command: &'static str,
    bytes: Vec<u8>,
}

impl Response {
    /// Takes the header apart.
    pub(super) fn parse(command: &'static str, bytes: Vec<u8>) -> Result<Self, TpmError> {
        let malformed = || TpmError::Malformed { command };
        let mut reader = Reader(&bytes);
        let _tag = reader.u16().ok_or_else(malformed)?;
        let length = reader.u32().ok_or_else(malformed)?;
        let code = reader.u32().ok_or_else(malformed)?;
        if u32::try_from(bytes.len()) != Ok(length) {
            return Err(malformed());
        }
        match code {
            0 => Ok(Self { command, bytes }),
            code => Err(TpmError::Refused { code }),
        }
    }

    fn take<T>(&self, take: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<T, TpmError> {
        let body = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        take(&mut Reader(body)).ok_or(TpmError::Malformed {
            command: self.command,
        })
    }

    /// The answer to [`nv_read_public`].
    pub(super) fn nv_public(&self) -> Result<NvPublic, TpmError> {
        self.take(|reader| {
            let mut public = Reader(reader.sized()?);
            let index = public.u32()?;
            let _name_algorithm = public.u16()?;
            let attributes = public.u32()?;
            let has_policy = !public.sized()?.is_empty();
            let size_bytes = public.u16()?;
            Some(NvPublic {
                index,
                attributes,
                has_policy,
                size_bytes,
            })
        })
    }

    /// The answer to [`nv_read`] of a counter.
    pub(super) fn nv_counter(&self) -> Result<u64, TpmError> {
        self.take(|reader| {
            let _parameter_bytes = reader.u32()?;
            let value = reader.sized()?.try_into().ok()?;
            Some(u64::from_be_bytes(value))
        })
    }
}

/// What is left of an answer.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    /// A `TPM2B`: its length in two bytes, then that many.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        let (bytes, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        let mut text = String::new();
        for byte in bytes {
            write!(text, "{byte:02x}").expect("writing to memory");
        }
        text
    }

    #[test]
    fn commands_are_those_of_the_specification() {
        let index = 0x0180_5ea1;
        for (command, expected) in [
            (nv_read_public(index), "80010000000e0000016901805ea1"),
            (
                nv_read(index, 8),
                "8002000000230000014e01805ea101805ea1000000094000000900000000000008\
                 0000",
            ),
            (
                nv_increment(index),
                "80020000001f0000013401805ea101805ea10000000940000009000000 0000",
            ),
            (
                nv_define_space(index, 0x0204_0014, 8),
                "80020000002d0000012a400000010000000940000009000000 0000\
                 0000000e01805ea1000b0204001400000008",
            ),
            (
                nv_undefine_space(index),
                "80020000001f000001224000000101805ea10000000940000009000000 0000",
            ),
        ] {
            let name = command.name();
            assert_eq!(
                hex(&command.into_bytes()),
                expected.replace(' ', ""),
                "{name}"
            );
        }
        let extend = pcr_extend(15, &[0xab; 32]).into_bytes();
        let start = "8002000000410000018200 00000f0000000940000009000000 000000000001000b";
        assert_eq!(
            hex(&extend),
            format!("{}{}", start.replace(' ', ""), "ab".repeat(32))
        );
    }

    fn answer(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("short");
        let mut bytes = SESSIONS.to_be_bytes().to_vec();
        bytes.extend(length.to_be_bytes());
        bytes.extend(code.to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn answers_are_read() {
        let read = answer(0, b"\0\0\0\x0a\0\x08\0\0\0\0\0\0\x01\x02\0\0\0\0\0");
        let read = Response::parse("x", read).expect("an answer");
        assert_eq!(read.nv_counter().expect("a counter"), 258);
        read.nv_public().expect_err("no public area");
        let public = b"\0\x0e\x01\x80\x5e\xa1\0\x0b\x22\x04\0\x14\0\0\0\x08\0\x00";
        let public = Response::parse("x", answer(0, public)).expect("an answer");
        assert_eq!(
            public.nv_public().expect("a public area"),
            NvPublic {
                index: 0x0180_5ea1,
                attributes: 0x2204_0014,
                has_policy: false,
                size_bytes: 8
            }
        );
        public.nv_counter().expect_err("no counter");
        let refused = Response::parse("x", answer(0x101, b"")).expect_err("refused");
        assert_eq!(
            refused.to_string(),
            "the TPM answered 0x101: it is in failure mode"
        );
        let missing = Response::parse("x", answer(0x18b, b"")).expect_err("refused");
        assert!(missing.is_missing_counter());
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes: Vec<u8>, body: Vec<u8>) {
            for bytes in [bytes, answer(0, &body)] {
                if let Ok(response) = Response::parse("x", bytes) {
                    drop(response.nv_public());
                    drop(response.nv_counter());
                }
            }
        }
    }
}
