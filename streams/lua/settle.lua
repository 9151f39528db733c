-- settle: write verdicts and let go of the entries, each fenced by its token.
--
-- uses  ledger usage append finish flow
-- KEYS  gate      -    deleted first: a write that needs no memory opens the script at maxmemory
--       verdicts  HASH a worker's journal → number of its last settle that Redis has
-- ARGV  worker    str  consumer
--       journal   str  the journal that some of these verdicts are in, empty for none
--       number    int  of this call, rising by journal
--       rest...   job, token, kind, amount, first, second, usage (of models; empty for none)
-- kind         amount      first            second
-- done         staged bytes, 0 for an inline result, -1 for one that stands for a blob; result; -
-- again        delay_ms    fault code       fault message     counts as a failure
-- put_back     delay_ms    fault code       fault message     does not count
-- dead         -           fault code       fault message
-- stopped      -           reason           -                 only a job somebody cancelled
-- handed_back  -           -                -                 keeps its entry and so its place
-- parked       -           -                -                 a flow's own job: it ends with its stages
-- Returns settled, already, lost or unstaged per verdict. A lease that ran out but that nobody
-- took is still the owner's: work done is not thrown away.
redis.call('DEL', gate)
local answers = {}

local function delay(job, ms, code, message, counts_as_failure)
  local due = now + ms
  let_go(job)
  keep_attempt(job.id, job.attempt, counts_as_failure and 'failed' or 'put_back', now_text, code, message)
  redis.call('ZADD', due_ .. job.class, due, job.id)
  redis.call('HSET', job_ .. job.id, 'state', 'delayed', 'due', due, 'code', code, 'error', message,
    'failures', (job.failures or 0) + (counts_as_failure and 1 or 0))
  move(job.lane, 'active', 'delayed')
  tally(counts_as_failure and 'retried' or 'put_back', job.lane)
  event('retrying', job.id, job.lane, 'delayed', job.attempt, 'code=' .. code)
  local head = redis.call('ZRANGE', due_ .. job.class, 0, 0)[1]
  if head == job.id then ring(job.class) end
end

local function hand_back(job)
  redis.call('ZADD', leases_ .. job.pool, 0, job.lane .. '|' .. job.entry)
  job.token = '-' .. job.token
  redis.call('HSET', job_ .. job.id, 'lease', lease_text(job))
  keep_attempt(job.id, job.attempt, 'handed_back', now_text)
  tally('handed_back', job.lane)
  event('handed_back', job.id, job.lane, 'active', job.attempt)
  ring(job.class)
end

local function park(job)
  let_go(job)
  redis.call('SADD', blocked, job.id)
  redis.call('HSET', job_ .. job.id, 'state', 'blocked')
  move(job.lane, 'active', 'blocked')
  tally('parked', job.lane)
  event('parked', job.id, job.lane, 'blocked', job.attempt)
  local flow = redis.call('HMGET', flow_ .. job.id, 'state', 'left', 'open')
  if flow[2] == '0' or (flow[1] ~= 'running' and flow[3] == '0') then step(job.id, 'end') end
end

local function settle(id, token, kind, amount, first, second)
  local job
  if kind == 'done' then job = read_done(id) else job = read_job(id) end
  if not job then return 'lost' end
  if job.token == '-' .. token then return 'already' end
  if job.token ~= token then
    forgive(read_job(id), token)
    return 'lost'
  end
  if job.state ~= 'active' then return 'already' end
  if kind == 'handed_back' and not job.cancel then
    hand_back(job)
  elseif kind == 'done' then
    local size = tonumber(amount)
    local staged = size > 0 and token or nil
    if staged and redis.call('STRLEN', staged_ .. id .. ':' .. token) ~= size then return 'unstaged' end
    job.apart = size < 0 or nil -- its callback bears a link
    finish(job, 'succeeded', nil, nil, not staged and first or nil, staged)
  elseif kind == 'dead' then
    finish(job, 'dead', first, second)
  elseif job.cancel then
    finish(job, 'cancelled', 'cancelled', job.cancel)
  elseif kind == 'parked' then
    park(job)
  elseif kind == 'stopped' then
    delay(job, 0, 'stopped', first, false)
  else
    delay(job, tonumber(amount), first, second, kind == 'again')
  end
  return 'settled'
end

for i = rest, #ARGV, 7 do
  local answer = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
  if answer == 'settled' and ARGV[i + 6] ~= '' then use(ARGV[i], ARGV[i + 6]) end
  answers[#answers + 1] = answer
end
close()
if journal ~= '' and tonumber(number) > tonumber(redis.call('HGET', verdicts, journal) or 0) then
  redis.call('HSET', verdicts, journal, number)
end
return answers
