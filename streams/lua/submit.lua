-- submit: accept many jobs in one call, none of which takes another's place.
--
-- uses  ledger append accept shipment
-- ARGV  gateway    str     whose journal this comes from, empty for none
--       sequence   int     the journal's sequence of the last job
--       known      int     what the gateway believes that `shipped` holds, -1 not to compare
--       jobs...    a row each, as in accept
-- Returns what accept says of each job, flat; or {moved, shipped}, as in shipment.
-- Redis at maxmemory refuses the first write, and so the whole call.
return ship(gateway, sequence, known, jobs)
