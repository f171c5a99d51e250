use burn::tensor::FloatDType;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use safetensors::Dtype;

/// Whether [`read_floats`] knows the type.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Fills `values` with floats of type `dtype`, whose bytes `read` fetches; of types that are no
/// floats, none.
pub(super) fn read_floats<E>(
    dtype: Dtype,
    values: &mut [f32],
    read: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    if dtype == Dtype::F32 {
        // Straight to where they belong: files have the byte order of almost all machines.
        read(bytemuck::cast_slice_mut(values))?;
        for value in values {
            *value = f32::from_bits(u32::from_le(value.to_bits()));
        }
    } else if is_float(dtype) {
        let mut bytes = vec![0; values.len() * 2];
        read(&mut bytes)?;
        let bits: Vec<u16> = elements(&bytes, u16::from_le_bytes).collect();
        if dtype == Dtype::F16 {
            bits.reinterpret_cast::<f16>().convert_to_f32_slice(values);
        } else {
            bits.reinterpret_cast::<bf16>().convert_to_f32_slice(values);
        }
    }
    Ok(())
}

pub(super) fn elements<T, const N: usize>(
    bytes: &[u8],
    convert: impl Fn([u8; N]) -> T,
) -> impl ExactSizeIterator<Item = T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(move |&chunk| convert(chunk))
}

/// The type of files that are to hold `dtype`, or what is wrong with that wish.
pub(super) fn stored_type(dtype: FloatDType) -> Result<Dtype, String> {
    match dtype {
        FloatDType::F32 => Ok(Dtype::F32),
        FloatDType::F16 => Ok(Dtype::F16),
        FloatDType::BF16 => Ok(Dtype::BF16),
        other => Err(format!("can't be written as {other:?}: choose f32, f16 or bf16")),
    }
}

/// Appends `values` in `dtype`, or tells why it can't hold them.
pub(super) fn append_bytes(
    dtype: Dtype,
    values: &[f32],
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    match dtype {
        Dtype::F16 => {
            if let Some(value) = values.iter().find(|value| value.abs() > f16::MAX.to_f32()) {
                return Err(format!("holds {value}, which f16 can't; save it as f32 or bf16"));
            }
            bytes.extend(values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()));
        }
        Dtype::BF16 => {
            bytes.extend(values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()));
        }
        _ => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
    }
    Ok(())
}
