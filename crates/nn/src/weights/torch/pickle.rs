//! A reader of pickles that can do nothing but describe tensors.

use std::collections::HashMap;

use super::opcodes::*;
use super::value::{Class, Description, Object, Storage, Value, View};

/// More dimensions than any tensor of a model has.
const MAX_DIMENSIONS: usize = 8;

/// More values than are ever in use at once: Python writes dictionaries in runs of 1,000 entries.
const MAX_STACK: usize = 1 << 16;

/// Fewer bytes than an object of a state dict takes in its pickle.
const OBJECT_BYTES: usize = 4;

/// The state dict that a pickle describes, below these keys of nested dictionaries.
pub(super) fn state_dict<'a>(pickle: &'a [u8], keys: &[&str]) -> Result<Description<'a>, String> {
    Pickle::read(pickle)?.state_dict(keys)
}

/// A pickle that was read.
pub(super) struct Pickle<'a> {
    root: Value<'a>,
    objects: Vec<Object<'a>>,
    /// How long it is.
    pub(super) length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that `bytes` begin with.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine {
            rest: bytes,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            objects: Vec::new(),
            max_objects: bytes.len() / OBJECT_BYTES,
        };
        loop {
            let at = bytes.len() - machine.rest.len();
            if let Some(root) = machine
                .step()
                .map_err(|problem| format!("{problem} (at byte {at} of its pickle)"))?
            {
                let length = bytes.len() - machine.rest.len();
                return Ok(Self { root, objects: machine.objects, length });
            }
        }
    }

    pub(super) fn int(&self) -> Option<i64> {
        match self.root {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The entry `key` of a dictionary, if it is a boolean.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let Value::Object(number) = self.root else { return None };
        let Object::Dict(entries) = &self.objects[number] else { return None };
        entries.iter().find_map(|entry| match *entry {
            (Value::Text(name), Value::Bool(value)) if name == key => Some(value),
            _ => None,
        })
    }

    /// The texts of a list of texts.
    pub(super) fn texts(&self) -> Option<Vec<&'a str>> {
        let Value::Object(number) = self.root else { return None };
        let Object::List(items) = &self.objects[number] else { return None };
        let text = |item: &Value<'a>| match *item {
            Value::Text(text) => Some(text),
            _ => None,
        };
        items.iter().map(text).collect()
    }

    /// The dictionary of tensors below `keys`; the rest of the pickle may hold anything.
    pub(super) fn state_dict(self, keys: &[&str]) -> Result<Description<'a>, String> {
        let needed = match keys {
            [] => "it must hold a dictionary of tensors by name".to_string(),
            _ => format!("its `{}` must be a dictionary of tensors by name", keys.join(".")),
        };
        let mut place = self.root;
        for key in keys {
            place = self.entry(place, key)?;
        }
        let entries = place.dict(&self.objects).ok_or_else(|| needed.clone())?;
        let mut tensors = Vec::with_capacity(entries.len());
        for &entry in entries {
            let (Value::Text(name), value) = entry else { return Err(needed) };
            let Some(Object::Tensor(view)) = value.object(&self.objects) else {
                return Err(format!("{needed}, but `{name}` is no tensor"));
            };
            tensors.push((name, view.clone()));
        }
        let storages = self.objects.into_iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        });
        Ok(Description { tensors, storages: storages.collect() })
    }

    /// The one entry `key` of a dictionary.
    fn entry(&self, dict: Value<'a>, key: &str) -> Result<Value<'a>, String> {
        let lacks = || format!("it must have one entry `{key}`");
        let entries = dict.dict(&self.objects).ok_or_else(lacks)?;
        let mut found = entries.iter().filter_map(|&(name, value)| match name {
            Value::Text(name) if name == key => Some(value),
            _ => None,
        });
        match (found.next(), found.next()) {
            (Some(value), None) => Ok(value),
            (Some(_), Some(_)) => Err(format!("{}, but has several", lacks())),
            (None, _) => Err(format!("{}, but has only {}", lacks(), names(entries))),
        }
    }
}

/// The first text keys of a dictionary, for a message.
fn names(entries: &[(Value<'_>, Value<'_>)]) -> String {
    const SHOWN: usize = 8;
    let mut texts = entries.iter().filter_map(|(key, _)| match key {
        Value::Text(key) => Some(format!("`{key}`")),
        _ => None,
    });
    let shown: Vec<String> = texts.by_ref().take(SHOWN).collect();
    match (shown.is_empty(), texts.next()) {
        (true, _) => "no names".to_string(),
        (_, None) => shown.join(", "),
        (_, Some(_)) => format!("{} and others", shown.join(", ")),
    }
}

impl<'a> Value<'a> {
    fn object<'b>(self, objects: &'b [Object<'a>]) -> Option<&'b Object<'a>> {
        match self {
            Value::Object(number) => objects.get(number),
            _ => None,
        }
    }

    fn tuple<'b>(self, objects: &'b [Object<'a>]) -> Option<&'b [Value<'a>]> {
        match self.object(objects)? {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn dict<'b>(self, objects: &'b [Object<'a>]) -> Option<&'b [(Value<'a>, Value<'a>)]> {
        match self.object(objects)? {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    fn size(self) -> Option<usize> {
        match self {
            Value::Int(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Vec<Object<'a>>,
    max_objects: usize,
}

impl<'a> Machine<'a> {
    /// Does what the next opcode says; returns the result once there is one.
    fn step(&mut self) -> Result<Option<Value<'a>>, String> {
        if self.stack.len().max(self.marks.len()) > MAX_STACK
            || self.objects.len() > self.max_objects
        {
            return Err("it holds more than any state dict".to_string());
        }
        match self.byte()? {
            PROTO => {
                let version = self.byte()?;
                if version != 2 {
                    return Err(format!("it has pickle protocol {version} instead of 2"));
                }
            }
            STOP => return self.pop().map(Some),
            MARK => self.marks.push(self.stack.len()),
            GLOBAL => self.global()?,
            REDUCE => self.reduce()?,
            // The attributes of a dictionary say nothing about its entries.
            BUILD => drop(self.pop()?),
            BINPERSID => self.storage()?,
            BINPUT => {
                let key = self.byte()?;
                self.put(u32::from(key))?;
            }
            LONG_BINPUT => {
                let key = u32::from_le_bytes(self.array()?);
                self.put(key)?;
            }
            BINGET => {
                let key = self.byte()?;
                self.get(u32::from(key))?;
            }
            LONG_BINGET => {
                let key = u32::from_le_bytes(self.array()?);
                self.get(key)?;
            }
            NONE => self.stack.push(Value::None),
            NEWTRUE => self.stack.push(Value::Bool(true)),
            NEWFALSE => self.stack.push(Value::Bool(false)),
            BININT => {
                let value = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(i64::from(value)));
            }
            BININT1 => {
                let value = self.byte()?;
                self.stack.push(Value::Int(i64::from(value)));
            }
            BININT2 => {
                let value = u16::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(i64::from(value)));
            }
            LONG1 => self.long()?,
            BINFLOAT => {
                self.array::<8>()?;
                self.stack.push(Value::Float);
            }
            SHORT_BINSTRING => {
                let length = self.byte()?;
                self.text(usize::from(length))?;
            }
            BINUNICODE => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length as usize)?;
            }
            EMPTY_TUPLE => self.push(Object::Tuple(Vec::new())),
            TUPLE => {
                let items = self.pop_to_mark()?;
                self.push(Object::Tuple(items));
            }
            opcode @ (TUPLE1 | TUPLE2 | TUPLE3) => {
                let items = self.pop_many(usize::from(opcode - TUPLE1) + 1)?;
                self.push(Object::Tuple(items));
            }
            EMPTY_LIST => self.push(Object::List(Vec::new())),
            APPEND => {
                let items = self.pop_many(1)?;
                self.append(items)?;
            }
            APPENDS => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            EMPTY_DICT => self.push(Object::Dict(Vec::new())),
            SETITEM => {
                let items = self.pop_many(2)?;
                self.insert(items)?;
            }
            SETITEMS => {
                let items = self.pop_to_mark()?;
                self.insert(items)?;
            }
            other => return Err(format!("no state dict needs the opcode {other:#04x}")),
        }
        Ok(None)
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let class = Class::find(module, name).ok_or_else(|| {
            format!("it asks for `{module}.{name}`, which no state dict needs; nothing was run")
        })?;
        self.stack.push(Value::Class(class));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let arguments = arguments.tuple(&self.objects).ok_or("a call has no arguments")?;
        match (function, arguments) {
            (Value::Class(Class::OrderedDict), []) => self.push(Object::Dict(Vec::new())),
            (Value::Class(Class::RebuildTensor), &[storage, first, shape, strides, ..]) => {
                let view = self
                    .view(storage, first, shape, strides)
                    .ok_or("the description of a tensor makes no sense")?;
                self.push(Object::Tensor(view));
            }
            (Value::Class(Class::RebuildParameter), &[tensor, ..]) => self.stack.push(tensor),
            _ => return Err("a call makes no sense".to_string()),
        }
        Ok(())
    }

    fn view(
        &self,
        storage: Value<'a>,
        first: Value<'a>,
        shape: Value<'a>,
        strides: Value<'a>,
    ) -> Option<View<'a>> {
        let Object::Storage(storage) = storage.object(&self.objects)? else { return None };
        let (shape, strides) = (shape.tuple(&self.objects)?, strides.tuple(&self.objects)?);
        if shape.len() != strides.len() || shape.len() > MAX_DIMENSIONS {
            return None;
        }
        let sizes =
            |values: &[Value<'a>]| values.iter().map(|value| value.size()).collect::<Option<_>>();
        Some(View {
            storage: storage.key,
            dtype: storage.dtype,
            first: first.size()?,
            shape: sizes(shape)?,
            strides: sizes(strides)?,
        })
    }

    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let storage = match id.tuple(&self.objects) {
            Some(
                &[
                    Value::Text("storage"),
                    Value::Class(Class::Storage(dtype)),
                    Value::Text(key),
                    Value::Text(_),
                    count,
                ]
                | &[
                    Value::Text("storage"),
                    Value::Class(Class::Storage(dtype)),
                    Value::Text(key),
                    Value::Text(_),
                    count,
                    Value::None,
                ],
            ) => count.size().map(|count| Storage { key, dtype, count }),
            _ => None,
        };
        let storage = storage.ok_or("the description of a storage makes no sense")?;
        self.push(Object::Storage(storage));
        Ok(())
    }

    fn append(&mut self, items: Vec<Value<'a>>) -> Result<(), String> {
        match self.top()? {
            Some(Object::List(list)) => list.extend(items),
            _ => return Err("items belong to no list".to_string()),
        }
        Ok(())
    }

    fn insert(&mut self, items: Vec<Value<'a>>) -> Result<(), String> {
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err("a key has no value".to_string());
        };
        match self.top()? {
            Some(Object::Dict(entries)) => {
                entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            _ => return Err("entries belong to no dictionary".to_string()),
        }
        Ok(())
    }

    fn put(&mut self, key: u32) -> Result<(), String> {
        let value = *self.stack.last().ok_or(EMPTY)?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<(), String> {
        let value = self.memo.get(&key).ok_or("it refers to a value that is not there")?;
        self.stack.push(*value);
        Ok(())
    }

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn top(&mut self) -> Result<Option<&mut Object<'a>>, String> {
        match *self.stack.last().ok_or(EMPTY)? {
            Value::Object(number) => Ok(self.objects.get_mut(number)),
            _ => Ok(None),
        }
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= bottom {
            return Err(EMPTY.to_string());
        }
        self.stack.pop().ok_or_else(|| EMPTY.to_string())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.marks.pop().ok_or("it ends something that has no beginning")?;
        Ok(self.stack.split_off(mark))
    }

    /// The last `count` values, which a mark must not cut off.
    fn pop_many(&mut self, count: usize) -> Result<Vec<Value<'a>>, String> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= bottom => Ok(self.stack.split_off(start)),
            _ => Err(EMPTY.to_string()),
        }
    }

    /// A number of any length; those that a state dict needs fit into 64 bits.
    fn long(&mut self) -> Result<(), String> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        if length > 8 {
            return Err("a number is too large".to_string());
        }
        let sign = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut all = if sign { [0xff; 8] } else { [0; 8] };
        all[..length].copy_from_slice(bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(all)));
        Ok(())
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        self.stack.push(Value::Text(utf8(bytes)?));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let length = self.rest.iter().position(|&byte| byte == b'\n').ok_or(CUT_OFF)?;
        let line = self.take(length)?;
        self.byte()?;
        utf8(line)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(bytes)
    }
}

const EMPTY: &str = "it uses a value that is not there";
const CUT_OFF: &str = "it is cut off";

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8".to_string())
}
