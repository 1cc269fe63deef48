"""The action space: tokens, the end and `<backspace>`; how action sequences become one masked batch."""
