/* The stack switch for aarch64, AAPCS64. See context.h for the frame. Written from the ABI; run under emulation
 * (qemu-aarch64), not yet on hardware.
 *
 * Offsets from the saved sp: x19..x28 at 0..72, x29 at 80, x30 at 88, d8..d15 at 96..152; 160 bytes.
 */
        .text
        .globl  heddle_switch
        .type   heddle_switch, %function
        .p2align 4
heddle_switch:
        .cfi_startproc
        hint    #34                     /* bti c */
        sub     sp, sp, #160
        .cfi_adjust_cfa_offset 160
        stp     x19, x20, [sp, #0]
        stp     x21, x22, [sp, #16]
        stp     x23, x24, [sp, #32]
        stp     x25, x26, [sp, #48]
        stp     x27, x28, [sp, #64]
        stp     x29, x30, [sp, #80]
        .cfi_rel_offset x29, 80
        .cfi_rel_offset x30, 88
        stp     d8, d9, [sp, #96]
        stp     d10, d11, [sp, #112]
        stp     d12, d13, [sp, #128]
        stp     d14, d15, [sp, #144]
        mov     x9, sp
        str     x9, [x0]
        mov     sp, x1
        ldp     x19, x20, [sp, #0]
        ldp     x21, x22, [sp, #16]
        ldp     x23, x24, [sp, #32]
        ldp     x25, x26, [sp, #48]
        ldp     x27, x28, [sp, #64]
        ldp     x29, x30, [sp, #80]
        ldp     d8, d9, [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        add     sp, sp, #160
        .cfi_adjust_cfa_offset -160
        .cfi_restore x29
        .cfi_restore x30
        mov     x0, x2
        ret
        .cfi_endproc
        .size   heddle_switch, .-heddle_switch

        .globl  heddle_entry
        .type   heddle_entry, %function
        .p2align 4
heddle_entry:
        .cfi_startproc
        .cfi_undefined x30
        mov     x29, #0
        mov     x30, #0
        mov     x0, x19
        blr     x20
        brk     #1
        .cfi_endproc
        .size   heddle_entry, .-heddle_entry

        .section .note.GNU-stack,"",%progbits
