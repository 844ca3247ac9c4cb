// Protobuf, for the few messages that are signed, read or made in the browser.
"use strict";
window.protobuf = (() => {
  const text = new TextEncoder();

  // The fields of a message in order, each with its number: bytes and numbers.
  function entries(bytes) {
    const found = [];
    let at = 0;
    const varint = () => {
      let value = 0n, shift = 0n, byte;
      do {
        if (at >= bytes.length) throw new RangeError("cut short");
        byte = bytes[at++];
        value |= BigInt(byte & 0x7f) << shift;
        shift += 7n;
      } while (byte & 0x80);
      return value;
    };
    while (at < bytes.length) {
      const tag = varint(), number = Number(tag >> 3n), wire = Number(tag & 7n);
      if (wire === 0) found.push([number, varint()]);
      else if (wire === 1 || wire === 2) {
        const length = wire === 1 ? 8 : Number(varint());
        if (at + length > bytes.length) throw new RangeError("cut short");
        found.push([number, bytes.slice(at, at + length)]);
        at += length;
      } else throw new RangeError("unknown wire type");
    }
    return found;
  }

  // By their numbers, where none is there twice.
  function fields(bytes) {
    const all = entries(bytes), found = new Map(all);
    if (found.size !== all.length) throw new RangeError("a field is there twice");
    return found;
  }

  // By their numbers, the values of each in their order: lists have several under one number.
  function lists(bytes) {
    const found = new Map();
    for (const [number, value] of entries(bytes)) found.set(number, [...(found.get(number) ?? []), value]);
    return found;
  }

  // What a message is made of: fields in the order of their numbers, empty ones left out.
  function varint(value) {
    const found = [];
    for (let left = BigInt(value); ; left >>= 7n) {
      if (left < 128n) return [...found, Number(left)];
      found.push(Number(left & 127n) | 128);
    }
  }
  function bytes(number, value) {
    return value.length ? [...varint((number << 3) | 2), ...varint(value.length), ...value] : [];
  }
  const whole = (number, value) => [...varint(number << 3), ...varint(value)];
  const words = (number, value) => bytes(number, text.encode(value));
  const time = (number, seconds, nanos = 0) =>
    bytes(number, [8, ...varint(seconds), ...(nanos ? [16, ...varint(nanos)] : [])]);
  const message = (...fields) => Uint8Array.from(fields.flat());

  return { entries, fields, lists, bytes, whole, words, time, message };
})();
