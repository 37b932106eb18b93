// The simulator needs a module; the devices of this test are models in Python.
`timescale 1ns / 1ps
module none;
endmodule
