/// The fields of a protobuf message, one after the other. Lengths that reach beyond the message,
/// and whatever else a whole file can't hold, end the iteration with an error.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// One field's number and value.
pub(super) type Field<'a> = (u64, Value<'a>);

/// What a field holds, as far as the wire tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Integer(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Bytes(&'a [u8]),
}

/// A message that isn't one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("a field is cut off")]
    CutOff,
    #[error("an integer has more than 64 bits")]
    LongInteger,
    #[error("a field has the unknown wire type {0}")]
    Type(u64),
    #[error("a field has the number 0")]
    Number,
}

const INTEGER: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;
const TYPE_BITS: u32 = 3;

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let key = self.integer()?;
        let number = key >> TYPE_BITS;
        if number == 0 {
            return Err(WireError::Number);
        }
        let value = match key & ((1 << TYPE_BITS) - 1) {
            INTEGER => Value::Integer(self.integer()?),
            FIXED64 => {
                self.take(8)?;
                Value::Fixed64
            }
            BYTES => {
                let length = self.integer()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED32 => {
                let bytes = self.take(4)?.try_into().map_err(|_| WireError::CutOff)?;
                Value::Fixed32(bytes)
            }
            other => return Err(WireError::Type(other)),
        };
        Ok((number, value))
    }

    fn integer(&mut self) -> Result<u64, WireError> {
        let mut integer = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(WireError::LongInteger);
            }
            integer |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(integer);
            }
        }
        Err(WireError::LongInteger)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(length).map_err(|_| WireError::CutOff)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
        Fields::of(message).collect()
    }

    #[test]
    fn fields_come_with_their_numbers() {
        // The encoding guide's `150` in field 1 and `testing` in field 2.
        let message =
            [&[0x08, 0x96, 0x01, 0x12, 0x07][..], b"testing", &[0x1d, 1, 2, 3, 4]].concat();
        let expected = [
            (1, Value::Integer(150)),
            (2, Value::Bytes(b"testing")),
            (3, Value::Fixed32([1, 2, 3, 4])),
        ];
        assert_eq!(fields(&message).unwrap(), expected);
        assert_eq!(fields(&[]).unwrap(), []);
    }

    #[test]
    fn integers_have_64_bits() {
        let mut message = vec![0x08];
        message.extend([0xff; 9]);
        message.push(0x01);
        assert_eq!(fields(&message).unwrap(), [(1, Value::Integer(u64::MAX))]);
        message[10] = 0x02;
        assert_eq!(fields(&message).unwrap_err(), WireError::LongInteger);
        message[10] = 0x81;
        assert_eq!(fields(&message).unwrap_err(), WireError::LongInteger);
    }

    #[test]
    fn lengths_beyond_the_message_are_refused() {
        for message in [
            &[0x12, 0x02, b'a'][..],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, b'a'],
            &[0x1d, 1, 2, 3],
            &[0x09, 1],
            &[0x08, 0x80],
        ] {
            assert_eq!(fields(message).unwrap_err(), WireError::CutOff, "{message:?}");
        }
        assert_eq!(fields(&[0x0b]).unwrap_err(), WireError::Type(3));
        assert_eq!(fields(&[0x00, 0x00]).unwrap_err(), WireError::Number);
    }
}
