// The pages of the two buffers of a DMA engine: where a byte of each lies in memory.
`timescale 1ns / 1ps
module pages (
    input  wire        clk,

    // Pages of 4096 bytes, 512 of each buffer at most.
    input  wire        page_write,
    input  wire [8:0]  page_number,
    input  wire [63:0] page_from,
    input  wire [63:0] page_to,

    // Where the buffers begin in their first pages.
    input  wire [31:0] from_offset,
    input  wire [31:0] to_offset,

    // The byte of which the pages are looked up, and how many bytes are counted on from there.
    input  wire [31:0] look,
    input  wire [31:0] ahead,
    output wire [63:0] from,
    output wire [63:0] to
);
    reg [63:0] from_pages [0:511];
    reg [63:0] to_pages [0:511];

    wire [31:0] from_look = from_offset + look;
    wire [31:0] to_look = to_offset + look;
    assign from = from_pages[from_look[20:12]] + from_look[11:0] + ahead;
    assign to = to_pages[to_look[20:12]] + to_look[11:0] + ahead;

    always @(posedge clk) if (page_write) begin
        from_pages[page_number] <= page_from;
        to_pages[page_number] <= page_to;
    end
endmodule
