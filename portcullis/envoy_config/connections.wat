;; A network filter for Envoy (Proxy-Wasm ABI 0.2.1): how many connections one network may have open.
;;
;; Envoy runs a copy of this module in each of its threads. The counts are in the data that all copies share, and
;; each change is a compare-and-swap there. A network is an IPv4 address or the first 64 bits of an IPv6 address.
;; Its count is one of 2^20, chosen by a hash with a key that is random and secret. So memory is bounded whatever
;; addresses come, and nobody can choose addresses that share the count of another network.
;;
;; The configuration is three decimal numbers: the most connections of one network, the most of all networks (at most
;; 65,535), and the part (one n-th) of all that one network may have while all are free. The part of one network
;; falls with the square of the connections that are still free. A network may always have one.
;;
;; `python -m tests.envoy.connections_module` writes connections.wasm from this file, and a test compares the two.
(module
  (import "env" "proxy_get_property" (func $get_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment_metric (param i32 i64) (result i32)))
  (import "env" "proxy_close_stream" (func $close_stream (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))

  ;; Memory: names first, then 128 to 143 for what the host returns (address, size, version), 160 to 175 for the
  ;; key of the hash, 192 to 215 for the groups of an IPv6 address, and from 4096 on what the host hands over.
  (memory (export "memory") 2)
  (data (i32.const 16) "source\00address")
  (data (i32.const 32) "all")
  (data (i32.const 36) "seed")
  (data (i32.const 40) "part") ;; and two bytes behind it: which of 4,096 parts, with 256 counts of two bytes in each
  (data (i32.const 64) "connections_refused")

  (global $limit (mut i32) (i32.const 0))
  (global $most (mut i32) (i32.const 0))
  (global $part (mut i32) (i32.const 1))
  (global $refused (mut i32) (i32.const 0))
  (global $read (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_1"))

  ;; The host asks for room for one value at a time, and the value is used before the next one comes.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (select (i32.const 4096) (i32.const 0) (i32.le_u (local.get $size) (i32.const 61440))))

  ;; The first copy, which starts before any connection, makes the counts and the key. The key is written last.
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
    (local $number i32)
    (if (call $get_shared (i32.const 36) (i32.const 4) (i32.const 128) (i32.const 132) (i32.const 136))
      (then
        (memory.fill (i32.const 4096) (i32.const 0) (i32.const 512))
        (drop (call $set_shared (i32.const 32) (i32.const 3) (i32.const 4096) (i32.const 4) (i32.const 0)))
        (loop $parts
          (i32.store16 (i32.const 44) (local.get $number))
          (drop (call $set_shared (i32.const 40) (i32.const 6) (i32.const 4096) (i32.const 512) (i32.const 0)))
          (local.set $number (i32.add (local.get $number) (i32.const 1)))
          (br_if $parts (i32.lt_u (local.get $number) (i32.const 4096))))
        (if (call $random (i32.const 160) (i32.const 16)) (then (return (i32.const 0))))
        (drop (call $set_shared (i32.const 36) (i32.const 4) (i32.const 160) (i32.const 16) (i32.const 0))))
      (else (memory.copy (i32.const 160) (i32.load (i32.const 128)) (i32.const 16))))
    (i32.const 1))

  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (if (call $get_buffer (i32.const 7) (i32.const 0) (local.get $size) (i32.const 128) (i32.const 132))
      (then (return (i32.const 0))))
    (global.set $read (i32.load (i32.const 128)))
    (i32.store8 (i32.add (global.get $read) (i32.load (i32.const 132))) (i32.const 0)) ;; ends the last number
    (global.set $limit (call $number))
    (global.set $most (call $number))
    (global.set $part (call $number))
    (drop (call $define_metric (i32.const 0) (i32.const 64) (i32.const 19) (i32.const 140)))
    (global.set $refused (i32.load (i32.const 140)))
    (i32.ne (i32.mul (global.get $part) (global.get $most)) (i32.const 0)))

  ;; The decimal number at $read, which moves behind the character that ends it.
  (func $number (result i32)
    (local $value i32)
    (local $digit i32)
    (block $end
      (loop $digits
        (local.set $digit (i32.sub (i32.load8_u (global.get $read)) (i32.const 48)))
        (global.set $read (i32.add (global.get $read) (i32.const 1)))
        (br_if $end (i32.gt_u (local.get $digit) (i32.const 9)))
        (local.set $value (i32.add (i32.mul (local.get $value) (i32.const 10)) (local.get $digit)))
        (br $digits)))
    (local.get $value))

  (func (export "proxy_on_context_create") (param i32 i32))

  ;; 0 goes on. 1 stops, and the connection is closed before any byte of it is read.
  (func (export "proxy_on_new_connection") (param $context i32) (result i32)
    (local $network i32)
    (local $most i32)
    (local.set $network (call $network))
    (if (i32.lt_s (local.get $network) (i32.const 0)) (then (return (i32.const 0))))
    (local.set $most (i32.sub (global.get $most) (call $change_all (i32.const 1)))) ;; still free
    (if (i32.lt_s (local.get $most) (i32.const 0)) (then (local.set $most (i32.const 0))))
    (local.set $most
      (i32.div_u
        (i32.mul (local.get $most) (local.get $most))
        (i32.mul (global.get $most) (global.get $part))))
    (if (i32.lt_s (local.get $most) (i32.const 1)) (then (local.set $most (i32.const 1))))
    (if (i32.gt_s (local.get $most) (global.get $limit)) (then (local.set $most (global.get $limit))))
    (if (i32.le_s (call $change_one (local.get $network) (i32.const 1)) (local.get $most))
      (then (return (i32.const 0))))
    (drop (call $increment_metric (global.get $refused) (i64.const 1)))
    (drop (call $close_stream (i32.const 2)))
    (i32.const 1))

  ;; Once for each connection that was counted, refused ones too. For what is no connection there is no address.
  (func (export "proxy_on_delete") (param $context i32)
    (local $network i32)
    (local.set $network (call $network))
    (if (i32.lt_s (local.get $network) (i32.const 0)) (then (return)))
    (drop (call $change_all (i32.const -1)))
    (drop (call $change_one (local.get $network) (i32.const -1))))

  (func $change_all (param $by i32) (result i32)
    (call $change (i32.const 32) (i32.const 3) (i32.const 0) (local.get $by)))

  (func $change_one (param $network i32) (param $by i32) (result i32)
    (i32.store16 (i32.const 44) (i32.shr_u (local.get $network) (i32.const 8)))
    (call $change (i32.const 40) (i32.const 6)
      (i32.shl (i32.and (local.get $network) (i32.const 255)) (i32.const 1))
      (local.get $by)))

  ;; Add to the count at $offset of a shared value and return it. Another thread may be faster (8): then again.
  (func $change (param $key i32) (param $size i32) (param $offset i32) (param $by i32) (result i32)
    (local $at i32)
    (local $count i32)
    (loop $again
      (if (call $get_shared (local.get $key) (local.get $size) (i32.const 128) (i32.const 132) (i32.const 136))
        (then (return (i32.const 0))))
      (local.set $at (i32.add (i32.load (i32.const 128)) (local.get $offset)))
      (local.set $count (i32.add (i32.load16_u (local.get $at)) (local.get $by)))
      (if (i32.lt_s (local.get $count) (i32.const 0)) (then (local.set $count (i32.const 0))))
      (i32.store16 (local.get $at) (local.get $count))
      (br_if $again
        (i32.eq (i32.const 8)
          (call $set_shared (local.get $key) (local.get $size)
            (i32.load (i32.const 128)) (i32.load (i32.const 132)) (i32.load (i32.const 136))))))
    (local.get $count))

  ;; Which count belongs to the peer of this connection, 0 to 2^20 - 1, or -1 where there is no address. Envoy writes
  ;; an address as `192.0.2.1:443` or `[2001:db8::1]:443`.
  (func $network (result i32)
    (local $start i32)
    (local $at i32)
    (local $end i32)
    (local $byte i32)
    (local $groups i32)
    (local $gap i32)
    (local $digits i32)
    (local $to i32)
    (local $zeros i32)
    (if (call $get_property (i32.const 16) (i32.const 14) (i32.const 128) (i32.const 132))
      (then (return (i32.const -1))))
    (local.set $start (i32.load (i32.const 128)))
    (local.set $at (local.get $start))
    (local.set $end (i32.add (local.get $start) (i32.load (i32.const 132))))
    (if (i32.eq (local.get $start) (local.get $end)) (then (return (i32.const -1))))
    (if (i32.ne (i32.load8_u (local.get $start)) (i32.const 91)) ;; [
      (then
        (block $found
          (loop $bytes
            (br_if $found (i32.ge_u (local.get $at) (local.get $end)))
            (br_if $found (i32.eq (i32.load8_u (local.get $at)) (i32.const 58))) ;; :
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $bytes)))
        (return (call $hash (local.get $start) (local.get $at)))))
    (memory.fill (i32.const 192) (i32.const 0) (i32.const 24))
    (local.set $gap (i32.const 8))
    (block $done
      (loop $bytes
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $byte (i32.load8_u (local.get $at)))
        (br_if $done (i32.eq (local.get $byte) (i32.const 93))) ;; ]
        (br_if $done (i32.eq (local.get $byte) (i32.const 37))) ;; %
        (if (i32.eq (local.get $byte) (i32.const 46)) ;; . stands in an IPv4 address that is written as IPv6
          (then (return (call $hash_mapped (local.get $at) (local.get $end)))))
        (if (i32.eq (local.get $byte) (i32.const 58)) ;; :
          (then
            (if (local.get $digits)
              (then
                (local.set $groups (i32.add (local.get $groups) (i32.const 1)))
                (local.set $digits (i32.const 0)))
              (else (local.set $gap (local.get $groups)))))
          (else
            (local.set $digits (i32.const 1))
            (local.set $to (i32.shl (i32.and (local.get $groups) (i32.const 7)) (i32.const 1)))
            (i32.store16 offset=192 (local.get $to)
              (i32.add
                (i32.shl (i32.load16_u offset=192 (local.get $to)) (i32.const 4))
                (select
                  (i32.sub (local.get $byte) (i32.const 87)) ;; a to f
                  (i32.sub (local.get $byte) (i32.const 48))
                  (i32.ge_u (local.get $byte) (i32.const 97)))))))
        (br $bytes)))
    (local.set $groups (i32.add (local.get $groups) (local.get $digits)))
    (local.set $zeros (i32.sub (i32.const 8) (local.get $groups))) ;; so many groups the gap stands for
    (local.set $to (i32.const 0))
    (loop $four
      (local.set $at (local.get $to)) ;; the group to take. Where there is a gap, the last is empty, and stands for it
      (if (i32.ge_u (local.get $to) (local.get $gap))
        (then (local.set $at (i32.sub (local.get $to) (local.get $zeros)))
          (if (i32.lt_s (local.get $at) (local.get $gap)) (then (local.set $at (i32.const 7))))))
      (i32.store16 offset=208 (i32.shl (local.get $to) (i32.const 1))
        (i32.load16_u offset=192 (i32.shl (local.get $at) (i32.const 1))))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (br_if $four (i32.lt_u (local.get $to) (i32.const 4))))
    (call $hash (i32.const 208) (i32.const 216)))

  ;; The IPv4 address in `[::ffff:192.0.2.1]:443`, with $at on its first dot.
  (func $hash_mapped (param $at i32) (param $end i32) (result i32)
    (local $to i32)
    (local.set $to (local.get $at))
    (loop $back
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (br_if $back (i32.ne (i32.load8_u (local.get $at)) (i32.const 58))))
    (block $found
      (loop $forth
        (br_if $found (i32.ge_u (local.get $to) (local.get $end)))
        (br_if $found (i32.eq (i32.load8_u (local.get $to)) (i32.const 93)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (br $forth)))
    (call $hash (i32.add (local.get $at) (i32.const 1)) (local.get $to)))

  ;; The bytes from $at up to $end under the secret key, as 20 bits.
  (func $hash (param $at i32) (param $end i32) (result i32)
    (local $hash i64)
    (local.set $hash (i64.load (i32.const 160)))
    (block $done
      (loop $bytes
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $hash
          (i64.mul
            (i64.xor (local.get $hash) (i64.load8_u (local.get $at)))
            (i64.const 0x9e3779b97f4a7c15)))
        (local.set $hash (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 29))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $bytes)))
    (i32.wrap_i64
      (i64.shr_u
        (i64.mul (local.get $hash) (i64.or (i64.load (i32.const 168)) (i64.const 1)))
        (i64.const 44))))
)
