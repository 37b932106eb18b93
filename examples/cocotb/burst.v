// A DMA engine that copies between two buffers, each given by its pages: an AXI4 master of 64 bits.
//
// It works in blocks of 128 bytes, each read and written by one burst; a burst ends where a page of either buffer
// does. With BUG it looks up the pages of a block once and counts on from there, for the rest of a block too. The
// bursts are within the rules of AXI, so nothing is wrong on the bus: only the address is, if the next page lies
// elsewhere.
`timescale 1ns / 1ps
module burst #(
    parameter BUG = 0
) (
    input  wire        clk,
    input  wire        rst,

    // Pages of 4096 bytes, written before the start.
    input  wire        page_write,
    input  wire [8:0]  page_number,
    input  wire [63:0] page_from,
    input  wire [63:0] page_to,

    input  wire        start,
    input  wire [31:0] from_offset,
    input  wire [31:0] to_offset,
    input  wire [31:0] length,  // bytes, a multiple of 8
    output reg         done,
    output reg         failed,

    output wire [3:0]  m_axi_arid,
    output reg  [63:0] m_axi_araddr,
    output reg  [7:0]  m_axi_arlen,
    output wire [2:0]  m_axi_arsize,
    output wire [1:0]  m_axi_arburst,
    output wire [2:0]  m_axi_arprot,
    output reg         m_axi_arvalid,
    input  wire        m_axi_arready,
    input  wire [3:0]  m_axi_rid,
    input  wire [63:0] m_axi_rdata,
    input  wire [1:0]  m_axi_rresp,
    input  wire        m_axi_rlast,
    input  wire        m_axi_rvalid,
    output reg         m_axi_rready,
    output wire [3:0]  m_axi_awid,
    output reg  [63:0] m_axi_awaddr,
    output reg  [7:0]  m_axi_awlen,
    output wire [2:0]  m_axi_awsize,
    output wire [1:0]  m_axi_awburst,
    output wire [2:0]  m_axi_awprot,
    output reg         m_axi_awvalid,
    input  wire        m_axi_awready,
    output wire [63:0] m_axi_wdata,
    output wire [7:0]  m_axi_wstrb,
    output wire        m_axi_wlast,
    output reg         m_axi_wvalid,
    input  wire        m_axi_wready,
    input  wire [3:0]  m_axi_bid,
    input  wire [1:0]  m_axi_bresp,
    input  wire        m_axi_bvalid,
    output reg         m_axi_bready
);
    localparam IDLE = 0, LOOK = 1, READ = 2, WRITE = 3, ANSWER = 4;
    localparam BLOCK = 128;

    reg [63:0] words [0:15];
    reg [2:0]  state;
    reg [31:0] at;     // bytes copied
    reg [31:0] block;  // where their block began
    reg [3:0]  beat;
    reg [3:0]  last;   // beat of the burst
    reg        broken;

    // What is looked up: the first byte of the burst, or of the block.
    wire [31:0] look = BUG ? block : at;
    wire [63:0] from, to;

    pages pages (
        .clk(clk), .page_write(page_write), .page_number(page_number), .page_from(page_from), .page_to(page_to),
        .from_offset(from_offset), .to_offset(to_offset), .look(look), .ahead(at - look), .from(from), .to(to)
    );

    function [31:0] least(input [31:0] a, input [31:0] b);
        least = a < b ? a : b;
    endfunction

    wire [31:0] in_pages = least(4096 - from[11:0], 4096 - to[11:0]);
    wire [31:0] bytes = least(in_pages, least(block + BLOCK, length) - at);

    assign m_axi_arid = 0;
    assign m_axi_awid = 0;
    assign m_axi_arsize = 3;
    assign m_axi_awsize = 3;
    assign m_axi_arburst = 1;  // INCR
    assign m_axi_awburst = 1;
    assign m_axi_arprot = 0;
    assign m_axi_awprot = 0;
    assign m_axi_wstrb = 8'hff;
    assign m_axi_wdata = words[beat];
    assign m_axi_wlast = beat == last;

    always @(posedge clk) begin
        if (m_axi_arready) m_axi_arvalid <= 0;
        if (m_axi_awready) m_axi_awvalid <= 0;
        if (rst) begin
            state <= IDLE;
            done <= 0;
            failed <= 0;
            m_axi_arvalid <= 0;
            m_axi_rready <= 0;
            m_axi_awvalid <= 0;
            m_axi_wvalid <= 0;
            m_axi_bready <= 0;
        end else case (state)
            IDLE: if (start) begin
                at <= 0;
                block <= 0;
                broken <= 0;
                done <= 0;
                failed <= 0;
                state <= LOOK;
            end
            LOOK: if (at == length || broken) begin
                done <= 1;
                failed <= broken;
                state <= IDLE;
            end else begin
                beat <= 0;
                last <= bytes[6:3] - 1;
                m_axi_araddr <= from;
                m_axi_arlen <= bytes[10:3] - 1;
                m_axi_arvalid <= 1;
                m_axi_rready <= 1;
                state <= READ;
            end
            READ: if (m_axi_rvalid) begin
                words[beat] <= m_axi_rdata;
                beat <= beat + 1;
                if (m_axi_rresp != 0) broken <= 1;
                if (m_axi_rlast) begin
                    m_axi_rready <= 0;
                    beat <= 0;
                    if (broken || m_axi_rresp != 0) state <= LOOK;
                    else begin
                        m_axi_awaddr <= to;
                        m_axi_awlen <= last;
                        m_axi_awvalid <= 1;
                        m_axi_wvalid <= 1;
                        m_axi_bready <= 1;
                        state <= WRITE;
                    end
                end
            end
            WRITE: if (m_axi_wready) begin
                beat <= beat + 1;
                if (m_axi_wlast) begin
                    m_axi_wvalid <= 0;
                    state <= ANSWER;
                end
            end
            ANSWER: if (m_axi_bvalid) begin
                m_axi_bready <= 0;
                if (m_axi_bresp != 0) broken <= 1;
                at <= at + (last + 1) * 8;
                if (at + (last + 1) * 8 == block + BLOCK) block <= block + BLOCK;
                state <= LOOK;
            end
        endcase
    end
endmodule
