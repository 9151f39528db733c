-- submit_replacing: accept many jobs in one call, some of which may take the place of others that have
-- not started. Apart from submit, which is the quicker for not knowing how jobs end.
--
-- uses  ledger append accept finish flow shipment
-- ARGV  gateway    str     whose journal this comes from, empty for none
--       sequence   int     the journal's sequence of the last job
--       known      int     what the gateway believes that `shipped` holds, -1 not to compare
--       jobs...    a row each, as in accept
-- Returns what accept says of each job, flat; or {moved, shipped}, as in shipment.
-- Redis at maxmemory refuses the first write, and so the whole call.
replace = function(id, by)
  finish(read_job(id), 'cancelled', 'replaced', by .. ' took its place')
end

return ship(gateway, sequence, known, jobs)
