//! The only file that knows cuBLASLt's C interface and the inside of CubeCL's CUDA server.
//!
//! A call is planned once for each form of its operands (cuBLASLt's heuristic picks an algorithm) and then
//! put on the stream from CubeCL's device thread, between the kernels launched before and after it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock};

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::server::{BufferBinding, ServerError, ServerStorage};
use cubecl_common::device_handle::DeviceHandle;
use cubecl_cuda::CudaRuntime;
use cubecl_environment::backtrace::BackTrace;
use cubecl_server::id::KernelId;
use cubecl_server::runtime::Runtime;
use cubecl_server::stream::{ExecuteScope, WriteScoped};
use libloading::{Library, Symbol};

type Server = <CudaRuntime as Runtime>::Server;

/// What NVIDIA recommends for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;
/// Of CubeCL's allocations at least; a slice of one may have less.
const ALIGNMENT: u64 = 256;
const NAMES: [&str; 5] = [
    "libcublasLt.so.13",
    "libcublasLt.so.12",
    "libcublasLt.so.11",
    "libcublasLt.so",
    "cublasLt64_12.dll",
];

/// A matrix as cuBLASLt reads it.
pub(crate) struct Matrix {
    pub(crate) tensor: CubeTensor,
    /// Elements from a row (column, if transposed) to the next.
    stride: i64,
    /// Whether its columns are what lies together in memory.
    transposed: bool,
}

/// The dtype of operands and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NumberFormat {
    F32,
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
    strides: [i64; 2],
    transposed: [bool; 2],
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

impl Matrix {
    /// The tensor as it is, if its rows or its columns lie together in memory, else a copy of it.
    pub(crate) fn of(tensor: CubeTensor) -> Self {
        let ([rows, columns], strides) = (two(tensor.meta.shape()), two(tensor.meta.strides()));
        let fits = |near: usize, far: usize, width: usize| near == 1 && far >= width.max(1);
        let stride = |far: usize, count: usize, width: usize| {
            // The stride of an axis of one element says nothing.
            if count == 1 { width.max(1) as i64 } else { far as i64 }
        };
        let row_major = columns == 1 || strides[1] == 1;
        if row_major && (rows == 1 || fits(1, strides[0], columns)) {
            return Self { stride: stride(strides[0], rows, columns), transposed: false, tensor };
        }
        if (rows == 1 || strides[0] == 1) && (columns == 1 || fits(1, strides[1], rows)) {
            return Self { stride: stride(strides[1], columns, rows), transposed: true, tensor };
        }
        Self { stride: columns as i64, transposed: false, tensor: into_contiguous(tensor) }
    }

    fn shape(&self) -> [u64; 2] {
        two(self.tensor.meta.shape()).map(|size| size as u64)
    }
}

fn two(sizes: &[usize]) -> [usize; 2] {
    [sizes[0], sizes[1]]
}

impl NumberFormat {
    pub(crate) fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// `cudaDataType_t`
    fn code(self) -> c_int {
        match self {
            Self::F32 => 0,
            Self::F16 => 2,
            Self::Bf16 => 14,
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

/// Whether tensors of this client can be multiplied here; says once why not, if it is for want of the
/// library.
pub(crate) fn is_usable(client: &Client) -> bool {
    client.service_id().service == std::any::TypeId::of::<Server>() && library().is_some()
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
            vector: sum.clone().or(self.bias).map(binding),
            workspace,
            out: out.handle.clone().binding(),
        };
        let written = sum.map(binding).into_iter().chain([bindings.out.clone()]).collect();
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
            strides: [self.a.stride, self.b.stride],
            transposed: [self.a.transposed, self.b.transposed],
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
    /// The bias, or where the sum goes.
    vector: Option<BufferBinding>,
    workspace: BufferBinding,
    out: BufferBinding,
}

impl Bindings {
    fn read(&self) -> impl Iterator<Item = &BufferBinding> {
        [&self.a, &self.b].into_iter().chain(&self.added)
    }

    fn all(&self) -> impl Iterator<Item = &BufferBinding> {
        self.read().chain(&self.vector).chain([&self.workspace, &self.out])
    }
}

fn device_thread(client: &Client) -> DeviceHandle<Server> {
    DeviceHandle::new(client.service_id().device)
}

/// Whether there is an algorithm for this form. The first question about a form waits for the device
/// thread, which makes the plan; later ones don't.
fn is_planned(client: &Client, form: &Form) -> bool {
    static KNOWN: Mutex<Option<HashMap<Form, bool>>> = Mutex::new(None);

    let mut known = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known = known.get_or_insert_default();
    if let Some(&known) = known.get(form) {
        return known;
    }
    let (wanted, context) = (form.clone(), client.empty(1).binding());
    let stream = context.stream;
    let planned = device_thread(client)
        .submit_blocking(move |server| {
            // Resolving a buffer makes the device's context the thread's own, which cuBLASLt needs.
            server.get_resource(context, stream).is_ok() && with_plan(&wanted, |_| ()).is_ok()
        })
        .unwrap_or(false);
    known.insert(form.clone(), planned);
    planned
}

/// Runs on the device thread: puts a planned product on its stream.
fn enqueue(
    server: &mut Server,
    stream: cubecl_environment::stream::StreamId,
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
        vector: bindings.vector.as_ref().map(&mut pointer).transpose()?,
        workspace: pointer(&bindings.workspace)?,
        out: pointer(&bindings.out)?,
    };
    let cuda_stream = streams.current().sys.cast::<c_void>();
    with_plan(form, |plan| plan.enqueue(pointers, cuda_stream))?
}

/// Device addresses of a call.
struct Pointers {
    a: *mut c_void,
    b: *mut c_void,
    added: Option<*mut c_void>,
    vector: Option<*mut c_void>,
    workspace: *mut c_void,
    out: *mut c_void,
}

/// Calls `then` with the plan of a form, which is made if this thread has none yet.
fn with_plan<R>(form: &Form, then: impl FnOnce(&Plan) -> R) -> Result<R, ServerError> {
    thread_local! {
        // cuBLASLt's descriptors belong to one thread at a time, and device threads live as long as the
        // process. Each device has one of its own, and with it the handle of its context.
        static PLANS: RefCell<HashMap<Form, Plan>> = RefCell::new(HashMap::new());
    }

    PLANS.with_borrow_mut(|plans| {
        if !plans.contains_key(form) {
            plans.insert(form.clone(), Plan::new(form)?);
        }
        Ok(then(&plans[form]))
    })
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

/// Descriptors and algorithm of a form. Kept until the process ends.
struct Plan {
    handle: *mut c_void,
    operation: *mut c_void,
    /// Of our b, a and the result, which is also that of what is added.
    layouts: [*mut c_void; 3],
    algorithm: [u64; 8],
    adds: bool,
}

impl Plan {
    fn new(form: &Form) -> Result<Self, ServerError> {
        let lt = library().ok_or_else(|| failed("loading cuBLASLt", -1))?;
        let handle = lt.handle()?;
        let operation = lt.operation(form)?;
        let [a_shape, b_shape] = [[form.rows, form.inner], [form.inner, form.columns]];
        let layouts = [
            lt.layout(form.format, b_shape, form.strides[1], form.transposed[1])?,
            lt.layout(form.format, a_shape, form.strides[0], form.transposed[0])?,
            lt.layout(form.format, [form.rows, form.columns], form.columns as i64, false)?,
        ];
        let algorithm = lt.algorithm(handle, operation, layouts, form.alignments)?;
        Ok(Self { handle, operation, layouts, algorithm, adds: form.adds })
    }

    fn enqueue(&self, pointers: Pointers, stream: *mut c_void) -> Result<(), ServerError> {
        let lt = library().ok_or_else(|| failed("loading cuBLASLt", -1))?;
        if let Some(vector) = pointers.vector {
            lt.set_operation(self.operation, BIAS_POINTER, vector)?;
        }
        let beta = if self.adds { 1.0_f32 } else { 0.0 };
        let [b, a, out] = self.layouts;
        // SAFETY: descriptors and algorithm are those of one plan, made for these operands' form; the
        // pointers were resolved in this very scope and their memory is kept by the bindings until the
        // stream has been given the work; the scalars are read before the call returns.
        let status = unsafe {
            (lt.matmul)(
                self.handle,
                self.operation,
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

// `cublasLtMatmulDescAttributes_t`
const TRANSPOSE_A: c_int = 3;
const TRANSPOSE_B: c_int = 4;
const EPILOGUE: c_int = 7;
const BIAS_POINTER: c_int = 8;
// `cublasComputeType_t`: f32 throughout
const COMPUTE_F32: c_int = 68;
// `cublasLtMatmulPreferenceAttributes_t`
const MAX_WORKSPACE: c_int = 1;
const MIN_ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

type Pointer = *mut c_void;
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
    create_layout: CreateLayout,
    create_preference: Create,
    set_preference: Set,
    destroy_preference: unsafe extern "C" fn(Pointer) -> c_int,
    find_algorithm: FindAlgorithm,
    matmul: Matmul,
    /// Behind the functions, which must not outlive it.
    _library: Library,
}

/// The library, or none if it can't be loaded, which is said once.
fn library() -> Option<&'static Lt> {
    static LIBRARY: OnceLock<Option<Lt>> = OnceLock::new();

    let load = || match Lt::load() {
        Ok(lt) => Some(lt),
        Err(error) => {
            eprintln!(
                "cuBLASLt can't be loaded ({error}); matrix products are Burn's own, several times slower"
            );
            None
        }
    };
    LIBRARY.get_or_init(load).as_ref()
}

impl Lt {
    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: NVIDIA's library runs no code of consequence when it is loaded.
        let open = |name: &&str| unsafe { Library::new(*name) };
        let mut tried = NAMES.iter().map(open);
        let library = tried.find(Result::is_ok).unwrap_or_else(|| open(&NAMES[0]))?;
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
                create_layout: find(&library, "cublasLtMatrixLayoutCreate")?,
                create_preference: find(&library, "cublasLtMatmulPreferenceCreate")?,
                set_preference: find(&library, "cublasLtMatmulPreferenceSetAttribute")?,
                destroy_preference: find(&library, "cublasLtMatmulPreferenceDestroy")?,
                find_algorithm: find(&library, "cublasLtMatmulAlgoGetHeuristic")?,
                matmul: find(&library, "cublasLtMatmul")?,
                _library: library,
            })
        }
    }

    /// This thread's handle.
    fn handle(&self) -> Result<Pointer, ServerError> {
        thread_local! {
            static HANDLE: RefCell<Option<Pointer>> = const { RefCell::new(None) };
        }

        HANDLE.with_borrow_mut(|handle| {
            if let Some(handle) = *handle {
                return Ok(handle);
            }
            // SAFETY: the argument is a place for the handle; the context is the thread's own.
            let created = created("cublasLtCreate", |place| unsafe { (self.create)(place) })?;
            *handle = Some(created);
            Ok(created)
        })
    }

    fn operation(&self, form: &Form) -> Result<Pointer, ServerError> {
        let operation = created("cublasLtMatmulDescCreate", |place| {
            // SAFETY: the first argument is a place for the descriptor, the others are codes.
            unsafe { (self.create_operation)(place, COMPUTE_F32, NumberFormat::F32.code()) }
        })?;
        let [a, b] = form.transposed.map(c_int::from);
        self.set_operation(operation, TRANSPOSE_A, b)?;
        self.set_operation(operation, TRANSPOSE_B, a)?;
        self.set_operation(operation, EPILOGUE, form.epilogue.code())?;
        Ok(operation)
    }

    fn set_operation<T>(
        &self,
        operation: Pointer,
        what: c_int,
        value: T,
    ) -> Result<(), ServerError> {
        // SAFETY: the descriptor is one of ours; the value is of the attribute's size and copied.
        let status = unsafe {
            (self.set_operation)(operation, what, (&raw const value).cast(), size_of::<T>())
        };
        succeeded("cublasLtMatmulDescSetAttribute", status)
    }

    /// The layout of a row-major matrix (of its transpose, if transposed), which cuBLASLt sees as the
    /// transpose of that in columns.
    fn layout(
        &self,
        format: NumberFormat,
        [rows, columns]: [u64; 2],
        stride: i64,
        transposed: bool,
    ) -> Result<Pointer, ServerError> {
        let [rows, columns] = if transposed { [columns, rows] } else { [rows, columns] };
        created("cublasLtMatrixLayoutCreate", |place| {
            // SAFETY: the first argument is a place for the descriptor, the others are numbers.
            unsafe { (self.create_layout)(place, format.code(), columns, rows, stride) }
        })
    }

    /// The algorithm that cuBLASLt thinks fastest.
    fn algorithm(
        &self,
        handle: Pointer,
        operation: Pointer,
        [b, a, out]: [Pointer; 3],
        alignments: [u32; 3],
    ) -> Result<[u64; 8], ServerError> {
        // SAFETY: the argument is a place for the descriptor.
        let preference = created("cublasLtMatmulPreferenceCreate", |place| unsafe {
            (self.create_preference)(place)
        })?;
        let [align_a, align_b, align_out] = alignments;
        let mut found = Heuristic::default();
        let mut count = 0;
        let set = |what: c_int, value: *const c_void, size: usize| {
            // SAFETY: the descriptor is ours; the value is of the attribute's size and copied.
            succeeded("cublasLtMatmulPreferenceSetAttribute", unsafe {
                (self.set_preference)(preference, what, value, size)
            })
        };
        let workspace = WORKSPACE_BYTES;
        set(MAX_WORKSPACE, (&raw const workspace).cast(), size_of::<usize>())?;
        for (what, value) in MIN_ALIGNMENTS.iter().zip([align_b, align_a, align_out, align_out]) {
            set(*what, (&raw const value).cast(), size_of::<u32>())?;
        }
        // SAFETY: all descriptors were made above or by the caller; there is room for one result.
        let status = unsafe {
            let (results, count) = (&raw mut found, &raw mut count);
            (self.find_algorithm)(handle, operation, b, a, out, out, preference, 1, results, count)
        };
        // SAFETY: the descriptor is ours and not used any more.
        unsafe { (self.destroy_preference)(preference) };
        succeeded("cublasLtMatmulAlgoGetHeuristic", status)?;
        if count == 1 && found.status == 0 {
            Ok(found.algorithm)
        } else {
            Err(failed("cublasLtMatmulAlgoGetHeuristic", found.status))
        }
    }
}

/// What a creating function puts into the place that it is given.
fn created(
    function: &str,
    create: impl FnOnce(*mut Pointer) -> c_int,
) -> Result<Pointer, ServerError> {
    let mut place = null_mut();
    succeeded(function, create(&raw mut place))?;
    Ok(place)
}

fn succeeded(function: &str, status: c_int) -> Result<(), ServerError> {
    if status == 0 { Ok(()) } else { Err(failed(function, status)) }
}

fn failed(function: &str, status: c_int) -> ServerError {
    ServerError::Generic {
        reason: format!("{function} answered {status}"),
        backtrace: BackTrace::capture(),
    }
}
