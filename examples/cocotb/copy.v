// A DMA engine that copies between two buffers, each given by its pages: an AXI4-Lite master of 64 bits.
//
// It works in bursts of 64 bytes. With BUG it looks up the page of a burst once, for the first word, and
// counts on from there. That is right until a burst crosses a page whose successor lies elsewhere.
`timescale 1ns / 1ps
module copy #(
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

    output reg  [63:0] m_axil_araddr,
    output wire [2:0]  m_axil_arprot,
    output reg         m_axil_arvalid,
    input  wire        m_axil_arready,
    input  wire [63:0] m_axil_rdata,
    input  wire [1:0]  m_axil_rresp,
    input  wire        m_axil_rvalid,
    output reg         m_axil_rready,
    output reg  [63:0] m_axil_awaddr,
    output wire [2:0]  m_axil_awprot,
    output reg         m_axil_awvalid,
    input  wire        m_axil_awready,
    output reg  [63:0] m_axil_wdata,
    output wire [7:0]  m_axil_wstrb,
    output reg         m_axil_wvalid,
    input  wire        m_axil_wready,
    input  wire [1:0]  m_axil_bresp,
    input  wire        m_axil_bvalid,
    output reg         m_axil_bready
);
    localparam IDLE = 0, READ = 1, DATA = 2, WRITE = 3, ANSWER = 4;

    reg [2:0]  state;
    reg [31:0] at;

    // What is looked up: the word, or the first byte of its burst.
    wire [31:0] look = BUG ? {at[31:6], 6'd0} : at;
    wire [63:0] from, to;

    pages pages (
        .clk(clk), .page_write(page_write), .page_number(page_number), .page_from(page_from), .page_to(page_to),
        .from_offset(from_offset), .to_offset(to_offset), .look(look), .ahead(at - look), .from(from), .to(to)
    );

    assign m_axil_arprot = 0;
    assign m_axil_awprot = 0;
    assign m_axil_wstrb = 8'hff;

    always @(posedge clk) begin
        if (rst) begin
            state <= IDLE;
            done <= 0;
            failed <= 0;
            m_axil_arvalid <= 0;
            m_axil_rready <= 0;
            m_axil_awvalid <= 0;
            m_axil_wvalid <= 0;
            m_axil_bready <= 0;
        end else case (state)
            IDLE: if (start) begin
                at <= 0;
                done <= 0;
                failed <= 0;
                state <= READ;
            end
            READ: if (at == length) begin
                done <= 1;
                state <= IDLE;
            end else begin
                m_axil_araddr <= from;
                m_axil_arvalid <= 1;
                m_axil_rready <= 1;
                state <= DATA;
            end
            DATA: begin
                if (m_axil_arready) m_axil_arvalid <= 0;
                if (m_axil_rvalid) begin
                    m_axil_rready <= 0;
                    m_axil_wdata <= m_axil_rdata;
                    state <= WRITE;
                    if (m_axil_rresp != 0) begin
                        done <= 1;
                        failed <= 1;
                        state <= IDLE;
                    end
                end
            end
            WRITE: begin
                m_axil_awaddr <= to;
                m_axil_awvalid <= 1;
                m_axil_wvalid <= 1;
                m_axil_bready <= 1;
                state <= ANSWER;
            end
            ANSWER: begin
                if (m_axil_awready) m_axil_awvalid <= 0;
                if (m_axil_wready) m_axil_wvalid <= 0;
                if (m_axil_bvalid) begin
                    m_axil_bready <= 0;
                    at <= at + 8;
                    state <= READ;
                    if (m_axil_bresp != 0) begin
                        done <= 1;
                        failed <= 1;
                        state <= IDLE;
                    end
                end
            end
        endcase
    end
endmodule
