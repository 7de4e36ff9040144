//! Loops that the compiler vectorises for the machine at hand.

/// A function whose body is compiled once for each set of instructions, and run with the best that the
/// machine has. It may be generic over one type.
///
/// `Arch::dispatch` takes closures as well, but what it then calls is a shim around the closure that
/// may be left out of line, and so be compiled for the oldest machine there is.
macro_rules! vectorised {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<'a $(, $kind:ident: $bound:ident)?>($($argument:ident: $type:ty),* $(,)?) -> $output:ty
        $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name<'a $(, $kind: $bound)?>($($argument: $type),*) -> $output {
            struct Job<'a $(, $kind)?> {
                $($argument: $type,)*
                lifetime: std::marker::PhantomData<&'a ()>,
            }

            impl<'a $(, $kind: $bound)?> pulp::WithSimd for Job<'a $(, $kind)?> {
                type Output = $output;

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> $output {
                    let Self { $($argument,)* lifetime: _ } = self;
                    $body
                }
            }

            crate::level::vectors().dispatch(Job { $($argument,)* lifetime: std::marker::PhantomData })
        }
    };
}

pub(crate) use vectorised;
