//! The only file that knows cuBLASLt's C interface and the inside of CubeCL's CUDA server.
//!
//! A call is planned once for each form of its operands (cuBLASLt's heuristic picks an algorithm) and then
//! put on the stream from CubeCL's device thread, between the kernels launched before and after it.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::ffi::{c_int, c_void};
use std::hash::Hash;
use std::ptr::null_mut;
use std::sync::{LazyLock, Mutex, OnceLock};

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::server::{BufferBinding, ServerError, ServerStorage};
use cubecl_common::device::DeviceId;
use cubecl_common::device_handle::DeviceHandle;
use cubecl_cuda::CudaRuntime;
use cubecl_environment::stream::StreamId;
use cubecl_server::id::KernelId;
use cubecl_server::runtime::Runtime;
use cubecl_server::stream::{ExecuteScope, WriteScoped};
use libloading::{Library, Symbol};

use crate::layout::Layout;
use crate::matrix::Matrix;
use crate::refusal::Refusal;
use crate::tf32;

type Server = <CudaRuntime as Runtime>::Server;

/// What NVIDIA recommends for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;
/// Of CubeCL's allocations at least; a slice of one may have less.
const ALIGNMENT: u64 = 256;
/// Newest first.
#[cfg(not(windows))]
const NAMES: [&str; 4] =
    ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", "libcublasLt.so"];
#[cfg(windows)]
const NAMES: [&str; 3] = ["cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll"];
/// Where the loader looks besides the system's folders.
const PATH: &str = if cfg!(windows) { "PATH" } else { "LD_LIBRARY_PATH" };

/// The dtype of operands and result, and what is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NumberFormat {
    F32,
    /// f32, of which products see ten binary digits.
    Tf32,
    F16,
    Bf16,
}

/// A product and what is added to it.
pub(crate) struct Call {
    pub(crate) format: NumberFormat,
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) bias: Option<CubeTensor>,
    pub(crate) added: Option<CubeTensor>,
}

/// All that the choice of an algorithm depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Form {
    format: NumberFormat,
    rows: u64,
    inner: u64,
    columns: u64,
    layouts: [Layout; 2],
    alignments: [u32; 3],
    epilogue: Epilogue,
    adds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Epilogue {
    None,
    Bias,
    SumOfB,
}

impl NumberFormat {
    pub(crate) fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 if tf32::is_allowed() => Some(Self::Tf32),
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// `cudaDataType_t`
    fn code(self) -> c_int {
        match self {
            Self::F32 | Self::Tf32 => 0,
            Self::F16 => 2,
            Self::Bf16 => 14,
        }
    }

    /// `cublasComputeType_t`: sums are f32 in all of them.
    fn compute_code(self) -> c_int {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 68,
            Self::Tf32 => 77,
        }
    }
}

impl Epilogue {
    /// `cublasLtEpilogue_t`. Row-major matrices are transposed ones to cuBLASLt, so that its A is our b.
    fn code(self) -> c_int {
        match self {
            Self::None => 1,
            Self::Bias => 4,
            Self::SumOfB => 256,
        }
    }
}

/// Whether tensors of this client can be multiplied here. The first question about a device waits for its
/// thread, which opens the library.
pub(crate) fn is_usable(client: &Client) -> bool {
    static KNOWN: Answers<DeviceId> = Answers::new();

    let service = client.service_id();
    service.service == TypeId::of::<Server>()
        && KNOWN.is_yes(service.device, || ask(client, |_| Ok(())))
}

impl Call {
    /// Puts the product on the stream; false if cuBLASLt has no algorithm for it, and then nothing is done.
    pub(crate) fn run(self, out: CubeTensor, sum: Option<CubeTensor>) -> bool {
        let form = self.form(&out, sum.is_some());
        if [form.rows, form.inner, form.columns].contains(&0) || !is_planned(&out.client, &form) {
            return false;
        }
        let workspace = out.client.empty(WORKSPACE_BYTES).binding();
        let stream = out.handle.stream;
        let binding = |tensor: CubeTensor| tensor.handle.binding();
        let bindings = Bindings {
            a: binding(self.a.tensor),
            b: binding(self.b.tensor),
            added: self.added.map(binding),
            bias: self.bias.map(binding),
            sum: sum.map(binding),
            workspace,
            out: out.handle.clone().binding(),
        };
        let written = bindings.written().cloned().collect();
        let client = &out.client;
        device_thread(client).submit(move |server| {
            let reads: Vec<BufferBinding> = bindings.read().cloned().collect();
            let id = KernelId::new::<Call>();
            ExecuteScope::launching(server, id, stream, reads.iter(), written)
                .execute(|server| enqueue(server, stream, &form, bindings));
        });
        true
    }

    fn form(&self, out: &CubeTensor, sums: bool) -> Form {
        let ([rows, inner], [_, columns]) = (self.a.shape(), self.b.shape());
        let alignment = |tensor: &CubeTensor| {
            let offset = tensor.handle.offset_start.unwrap_or(0);
            (if offset == 0 { ALIGNMENT } else { ALIGNMENT.min(1 << offset.trailing_zeros()) })
                as u32
        };
        let c = self.added.as_ref().map_or(ALIGNMENT as u32, alignment);
        Form {
            format: self.format,
            rows,
            inner,
            columns,
            layouts: [self.a.layout, self.b.layout],
            alignments: [
                alignment(&self.a.tensor),
                alignment(&self.b.tensor),
                c.min(alignment(out)),
            ],
            epilogue: match (sums, &self.bias) {
                (true, _) => Epilogue::SumOfB,
                (false, Some(_)) => Epilogue::Bias,
                (false, None) => Epilogue::None,
            },
            adds: self.added.is_some(),
        }
    }
}

/// The buffers of a call.
struct Bindings {
    a: BufferBinding,
    b: BufferBinding,
    added: Option<BufferBinding>,
    bias: Option<BufferBinding>,
    /// Where the sum of b's rows goes.
    sum: Option<BufferBinding>,
    workspace: BufferBinding,
    out: BufferBinding,
}

impl Bindings {
    fn read(&self) -> impl Iterator<Item = &BufferBinding> {
        [&self.a, &self.b].into_iter().chain(&self.added).chain(&self.bias)
    }

    fn written(&self) -> impl Iterator<Item = &BufferBinding> {
        self.sum.iter().chain([&self.out])
    }

    fn all(&self) -> impl Iterator<Item = &BufferBinding> {
        self.read().chain(self.written()).chain([&self.workspace])
    }
}

fn device_thread(client: &Client) -> DeviceHandle<Server> {
    DeviceHandle::new(client.service_id().device)
}

/// Whether there is an algorithm for this form. The first question about a form waits for the device
/// thread, which makes the plan; later ones don't.
fn is_planned(client: &Client, form: &Form) -> bool {
    static KNOWN: Answers<(DeviceId, Form)> = Answers::new();

    let wanted = form.clone();
    KNOWN.is_yes((client.service_id().device, form.clone()), || {
        ask(client, move |session| session.plan(&wanted).map(drop))
    })
}

/// Answers to questions that needn't be asked again.
struct Answers<K>(LazyLock<Mutex<HashMap<K, bool>>>);

impl<K: Eq + Hash> Answers<K> {
    const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    /// The known answer, or else that of `ask`. If that is no, it is said why; unless it may be another the
    /// next time, it is kept.
    fn is_yes(&self, key: K, ask: impl FnOnce() -> Result<(), Refusal>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(&known) = known.get(&key) {
            return known;
        }
        let answer = ask();
        if let Err(refusal) = &answer {
            refusal.say_once();
        }
        if answer.as_ref().map_or_else(Refusal::is_final, |_| true) {
            known.insert(key, answer.is_ok());
        }
        answer.is_ok()
    }
}

/// Asks the device thread, and waits for it.
fn ask(
    client: &Client,
    question: impl FnOnce(&mut Session) -> Result<(), Refusal> + Send,
) -> Result<(), Refusal> {
    let context = client.empty(1).binding();
    let stream = context.stream;
    let answer = device_thread(client).submit_blocking(move |server| {
        // Resolving a buffer makes the device's context the thread's own, which cuBLASLt needs.
        drop(server.get_resource(context, stream)?);
        with_session(question)
    });
    answer.unwrap_or_else(|error| Err(Refusal::Device(format!("{error:?}"))))
}

/// Runs on the device thread: puts a planned product on its stream.
fn enqueue(
    server: &mut Server,
    stream: StreamId,
    form: &Form,
    bindings: Bindings,
) -> Result<(), ServerError> {
    // Makes the device's context the thread's own.
    drop(server.get_resource(bindings.a.clone(), stream)?);
    // Waits for the other streams' work on these buffers. Dropped after the enqueue: that is what lets
    // those streams use the buffers again only behind this product.
    let mut streams = server.write_streams().resolve(stream, bindings.all())?;
    let mut pointer = |binding: &BufferBinding| -> Result<*mut c_void, ServerError> {
        let location = binding.memory.descriptor().location();
        streams.current().capturing.touch(binding.stream, location);
        let memory = &mut streams.get(&binding.stream).memory_management_gpu;
        let (start, end) = (binding.offset_start, binding.offset_end);
        Ok(memory.get_resource(binding.memory.clone(), start, end)?.ptr as *mut c_void)
    };
    let pointers = Pointers {
        a: pointer(&bindings.a)?,
        b: pointer(&bindings.b)?,
        added: bindings.added.as_ref().map(&mut pointer).transpose()?,
        vector: bindings.bias.as_ref().or(bindings.sum.as_ref()).map(&mut pointer).transpose()?,
        workspace: pointer(&bindings.workspace)?,
        out: pointer(&bindings.out)?,
    };
    let cuda_stream = streams.current().sys.cast::<c_void>();
    Ok(with_session(|session| session.plan(form)?.enqueue(pointers, cuda_stream))?)
}

/// Device addresses of a call.
struct Pointers {
    a: *mut c_void,
    b: *mut c_void,
    added: Option<*mut c_void>,
    /// The bias, or where the sum goes.
    vector: Option<*mut c_void>,
    workspace: *mut c_void,
    out: *mut c_void,
}

/// What a device thread has of the library.
struct Session {
    lt: &'static Lt,
    /// Kept until the process ends.
    handle: Pointer,
    plans: HashMap<Form, Plan>,
}

/// Calls `then` with the session of this device thread, which is opened if there is none yet.
fn with_session<R>(then: impl FnOnce(&mut Session) -> Result<R, Refusal>) -> Result<R, Refusal> {
    thread_local! {
        // cuBLASLt's descriptors belong to one thread at a time. Each device has a thread of its own, and
        // with it the handle of its context.
        static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
    }

    SESSION.with_borrow_mut(|session| {
        then(match session {
            Some(session) => session,
            None => session.insert(Session::open()?),
        })
    })
}

impl Session {
    /// By the newest library that works with the driver, for the thread's current context.
    fn open() -> Result<Self, Refusal> {
        let mut failures = Vec::new();
        for (name, library) in libraries() {
            let Ok(lt) = library else { continue };
            match lt.handle() {
                Ok(handle) => return Ok(Self { lt, handle, plans: HashMap::new() }),
                // Which may pass.
                Err(refusal @ Refusal::Failed { status: ALLOCATION_FAILED, .. }) => {
                    return Err(refusal);
                }
                Err(refusal) => failures.push(format!("{name}: {refusal}")),
            }
        }
        let is_loaded = !failures.is_empty();
        Err(Refusal::NoLibrary(if is_loaded { failures.join(", ") } else { why_none_loads() }))
    }

    fn plan(&mut self, form: &Form) -> Result<&Plan, Refusal> {
        match self.plans.entry(form.clone()) {
            Entry::Occupied(plan) => Ok(plan.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Plan::new(self.lt, self.handle, form)?)),
        }
    }
}

/// `cublasLtMatmulHeuristicResult_t`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Heuristic {
    algorithm: [u64; 8],
    workspace: usize,
    status: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// Descriptors and algorithm of a form.
struct Plan {
    lt: &'static Lt,
    handle: Pointer,
    operation: Descriptor,
    /// Of our b, a and the result, which is also that of what is added.
    layouts: [Descriptor; 3],
    algorithm: [u64; 8],
    adds: bool,
}

impl Plan {
    fn new(lt: &'static Lt, handle: Pointer, form: &Form) -> Result<Self, Refusal> {
        let operation = lt.operation(form)?;
        let layout = |shape, layout| lt.layout(form.format, shape, layout);
        let layouts = [
            layout([form.inner, form.columns], form.layouts[1])?,
            layout([form.rows, form.inner], form.layouts[0])?,
            layout([form.rows, form.columns], Layout::contiguous(form.columns as usize))?,
        ];
        let algorithm = lt.algorithm(handle, &operation, &layouts, form)?;
        Ok(Self { lt, handle, operation, layouts, algorithm, adds: form.adds })
    }

    fn enqueue(&self, pointers: Pointers, stream: *mut c_void) -> Result<(), Refusal> {
        if let Some(vector) = pointers.vector {
            self.lt.set_operation(&self.operation, BIAS_POINTER, vector)?;
        }
        let beta = if self.adds { 1.0_f32 } else { 0.0 };
        let [b, a, out] = self.layouts.each_ref().map(|layout| layout.pointer);
        // SAFETY: descriptors and algorithm are those of one plan, made for these operands' form; the
        // pointers were resolved in this very scope and their memory is kept by the bindings until the
        // stream has been given the work; the scalars are read before the call returns.
        let status = unsafe {
            (self.lt.matmul)(
                self.handle,
                self.operation.pointer,
                (&raw const ONE).cast(),
                pointers.b,
                b,
                pointers.a,
                a,
                (&raw const beta).cast(),
                pointers.added.unwrap_or(pointers.out),
                out,
                pointers.out,
                out,
                self.algorithm.as_ptr().cast(),
                pointers.workspace,
                WORKSPACE_BYTES,
                stream,
            )
        };
        succeeded("cublasLtMatmul", status)
    }
}

static ONE: f32 = 1.0;

// `cublasStatus_t`
const SUCCESS: c_int = 0;
const ALLOCATION_FAILED: c_int = 3;
const INVALID_VALUE: c_int = 7;
const ARCHITECTURE_MISMATCH: c_int = 8;
const NOT_SUPPORTED: c_int = 15;

// `cublasLtMatmulDescAttributes_t`
const TRANSPOSE_A: c_int = 3;
const TRANSPOSE_B: c_int = 4;
const EPILOGUE: c_int = 7;
const BIAS_POINTER: c_int = 8;
// `cublasLtMatmulPreferenceAttributes_t`
const MAX_WORKSPACE: c_int = 1;
const MIN_ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

type Pointer = *mut c_void;
type Destroy = unsafe extern "C" fn(Pointer) -> c_int;
type Create = unsafe extern "C" fn(*mut Pointer) -> c_int;
type CreateOperation = unsafe extern "C" fn(*mut Pointer, c_int, c_int) -> c_int;
type CreateLayout = unsafe extern "C" fn(*mut Pointer, c_int, u64, u64, i64) -> c_int;
type Set = unsafe extern "C" fn(Pointer, c_int, *const c_void, usize) -> c_int;
type FindAlgorithm = unsafe extern "C" fn(
    Pointer,
    Pointer,
    Pointer,
    Pointer,
    Pointer,
    Pointer,
    Pointer,
    c_int,
    *mut Heuristic,
    *mut c_int,
) -> c_int;
type Matmul = unsafe extern "C" fn(
    Pointer,
    Pointer,
    *const c_void,
    *const c_void,
    Pointer,
    *const c_void,
    Pointer,
    *const c_void,
    *const c_void,
    Pointer,
    *mut c_void,
    Pointer,
    *const c_void,
    *mut c_void,
    usize,
    *mut c_void,
) -> c_int;

/// The entry points that are used.
struct Lt {
    create: Create,
    create_operation: CreateOperation,
    set_operation: Set,
    destroy_operation: Destroy,
    create_layout: CreateLayout,
    destroy_layout: Destroy,
    create_preference: Create,
    set_preference: Set,
    destroy_preference: Destroy,
    find_algorithm: FindAlgorithm,
    matmul: Matmul,
    /// Behind the functions, which must not outlive it.
    _library: Library,
}

/// What is behind each name: loaded when it is come to, and kept for the process.
fn libraries()
-> impl Iterator<Item = (&'static str, Result<&'static Lt, &'static libloading::Error>)> {
    static LOADED: [OnceLock<Result<Lt, libloading::Error>>; NAMES.len()] =
        [const { OnceLock::new() }; NAMES.len()];

    let load = |(name, place): (_, &'static OnceLock<_>)| {
        (name, place.get_or_init(|| Lt::load(name)).as_ref())
    };
    NAMES.into_iter().zip(&LOADED).map(load)
}

fn why_none_loads() -> String {
    let of_newest = libraries().find_map(|(_, library)| library.err());
    let reason = of_newest.and_then(Error::source).map(ToString::to_string).unwrap_or_default();
    let names = NAMES.join(", ");
    format!(
        "none of {names} can be loaded ({reason}), and one in another folder, as in Python's packages \
         (nvidia/cublas/lib), needs that folder in {PATH}"
    )
}

impl Lt {
    fn load(name: &str) -> Result<Self, libloading::Error> {
        // SAFETY: NVIDIA's library runs no code of consequence when it is loaded.
        let library = unsafe { Library::new(name)? };
        /// # Safety
        /// `F` must be the type of the function `name`.
        unsafe fn find<F: Copy>(library: &Library, name: &str) -> Result<F, libloading::Error> {
            // SAFETY: as the caller promises.
            unsafe { library.get(name.as_bytes()).map(|symbol: Symbol<F>| *symbol) }
        }
        // SAFETY: the types are those of cublasLt.h, unchanged since version 11; the library is kept
        // beside the functions.
        unsafe {
            Ok(Self {
                create: find(&library, "cublasLtCreate")?,
                create_operation: find(&library, "cublasLtMatmulDescCreate")?,
                set_operation: find(&library, "cublasLtMatmulDescSetAttribute")?,
                destroy_operation: find(&library, "cublasLtMatmulDescDestroy")?,
                create_layout: find(&library, "cublasLtMatrixLayoutCreate")?,
                destroy_layout: find(&library, "cublasLtMatrixLayoutDestroy")?,
                create_preference: find(&library, "cublasLtMatmulPreferenceCreate")?,
                set_preference: find(&library, "cublasLtMatmulPreferenceSetAttribute")?,
                destroy_preference: find(&library, "cublasLtMatmulPreferenceDestroy")?,
                find_algorithm: find(&library, "cublasLtMatmulAlgoGetHeuristic")?,
                matmul: find(&library, "cublasLtMatmul")?,
                _library: library,
            })
        }
    }

    /// A handle for the thread's current context.
    fn handle(&self) -> Result<Pointer, Refusal> {
        // SAFETY: the argument is a place for the handle.
        created("cublasLtCreate", |place| unsafe { (self.create)(place) })
    }

    fn operation(&self, form: &Form) -> Result<Descriptor, Refusal> {
        let pointer = created("cublasLtMatmulDescCreate", |place| {
            let (compute, scale) = (form.format.compute_code(), NumberFormat::F32.code());
            // SAFETY: the first argument is a place for the descriptor, the others are codes.
            unsafe { (self.create_operation)(place, compute, scale) }
        })?;
        let operation = Descriptor { pointer, destroy: self.destroy_operation };
        let [a, b] = form.layouts.map(|layout| c_int::from(layout.transposed));
        self.set_operation(&operation, TRANSPOSE_A, b)?;
        self.set_operation(&operation, TRANSPOSE_B, a)?;
        self.set_operation(&operation, EPILOGUE, form.epilogue.code())?;
        Ok(operation)
    }

    fn set_operation<T>(
        &self,
        operation: &Descriptor,
        what: c_int,
        value: T,
    ) -> Result<(), Refusal> {
        let (value, size) = ((&raw const value).cast(), size_of::<T>());
        // SAFETY: the descriptor is one of ours; the value is of the attribute's size and copied.
        let status = unsafe { (self.set_operation)(operation.pointer, what, value, size) };
        succeeded("cublasLtMatmulDescSetAttribute", status)
    }

    /// The layout of a row-major matrix (of its transpose, if transposed), which cuBLASLt sees as the
    /// transpose of that in columns.
    fn layout(
        &self,
        format: NumberFormat,
        [rows, columns]: [u64; 2],
        Layout { stride, transposed }: Layout,
    ) -> Result<Descriptor, Refusal> {
        let [rows, columns] = if transposed { [columns, rows] } else { [rows, columns] };
        let pointer = created("cublasLtMatrixLayoutCreate", |place| {
            // SAFETY: the first argument is a place for the descriptor, the others are numbers.
            unsafe { (self.create_layout)(place, format.code(), columns, rows, stride) }
        })?;
        Ok(Descriptor { pointer, destroy: self.destroy_layout })
    }

    /// What an algorithm may use and rely on.
    fn preference(&self, alignments: [u32; 3]) -> Result<Descriptor, Refusal> {
        // SAFETY: the argument is a place for the descriptor.
        let pointer = created("cublasLtMatmulPreferenceCreate", |place| unsafe {
            (self.create_preference)(place)
        })?;
        let preference = Descriptor { pointer, destroy: self.destroy_preference };
        let set = |what: c_int, value: *const c_void, size: usize| {
            // SAFETY: the descriptor is ours; the value is of the attribute's size and copied.
            succeeded("cublasLtMatmulPreferenceSetAttribute", unsafe {
                (self.set_preference)(preference.pointer, what, value, size)
            })
        };
        let workspace = WORKSPACE_BYTES;
        set(MAX_WORKSPACE, (&raw const workspace).cast(), size_of::<usize>())?;
        let [align_a, align_b, align_out] = alignments;
        for (what, value) in MIN_ALIGNMENTS.iter().zip([align_b, align_a, align_out, align_out]) {
            set(*what, (&raw const value).cast(), size_of::<u32>())?;
        }
        Ok(preference)
    }

    /// The algorithm that cuBLASLt thinks fastest.
    fn algorithm(
        &self,
        handle: Pointer,
        operation: &Descriptor,
        layouts: &[Descriptor; 3],
        form: &Form,
    ) -> Result<[u64; 8], Refusal> {
        let preference = self.preference(form.alignments)?;
        let [b, a, out] = layouts.each_ref().map(|layout| layout.pointer);
        let (operation, preference) = (operation.pointer, preference.pointer);
        let mut found = Heuristic::default();
        let mut count = 0;
        // SAFETY: all descriptors were made above or by the caller; there is room for one result.
        let status = unsafe {
            let (results, count) = (&raw mut found, &raw mut count);
            (self.find_algorithm)(handle, operation, b, a, out, out, preference, 1, results, count)
        };
        match status {
            SUCCESS if count == 1 && found.status == SUCCESS => Ok(found.algorithm),
            SUCCESS | INVALID_VALUE | ARCHITECTURE_MISMATCH | NOT_SUPPORTED => {
                Err(Refusal::NoAlgorithm(format!("{form:?}")))
            }
            _ => Err(failed("cublasLtMatmulAlgoGetHeuristic", status)),
        }
    }
}

/// Something that the library made and that is given back to it.
struct Descriptor {
    pointer: Pointer,
    destroy: Destroy,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the library made it, which is never unloaded, and nobody else has it.
        unsafe { (self.destroy)(self.pointer) };
    }
}

/// What a creating function puts into the place that it is given.
fn created(
    function: &'static str,
    create: impl FnOnce(*mut Pointer) -> c_int,
) -> Result<Pointer, Refusal> {
    let mut place = null_mut();
    succeeded(function, create(&raw mut place))?;
    Ok(place)
}

fn succeeded(function: &'static str, status: c_int) -> Result<(), Refusal> {
    if status == SUCCESS { Ok(()) } else { Err(failed(function, status)) }
}

fn failed(function: &'static str, status: c_int) -> Refusal {
    Refusal::Failed { function, status }
}
